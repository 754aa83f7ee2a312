// A vault as its log tells it: documents, trees, commits and HEAD.

import { Doc } from "./content.mjs";
import { commitId, mergeMessage, readCommit, recordMessage, treeId } from "./git.mjs";
import { effective, sees, transactions } from "./history.mjs";
import { compareList } from "./hash.mjs";
import { integrated, whole } from "./member.mjs";
import { documentId, moved, settle } from "./path.mjs";
import { place, stamp } from "./record.mjs";
import { has, order, union } from "./view.mjs";

const seconds = (record) => Math.floor(record.wall / 1000);

export class Vault {
  #merges = new Map();

  constructor(chains, found) {
    this.found = found;
    const members = integrated(order(chains, found), found);
    this.id = members.vault;
    this.records = members.records;
    this.view = whole(this.records);
    this.transactions = transactions(this.records, found);
    this.docs = new Map();
    this.movedirs = [];
    this.#collect();
    this.#check();
    this.#commit();
  }

  #collect() {
    for (const item of this.transactions.flatMap(({ items }) => items)) {
      if (item.t === "movedir") this.movedirs.push(item);
      if (!item.doc) continue;
      if (!this.docs.has(item.doc)) this.docs.set(item.doc, new Doc(item.doc, this.found));
      this.docs.get(item.doc).items.push(item);
    }
    this.movedirs.sort((a, b) => compareList(stamp(a.record), stamp(b.record)) || a.position - b.position);
  }

  #check() {
    const places = new Map(this.records.map((record) => [place(record), record]));
    for (const item of this.transactions.flatMap(({ items }) => items)) {
      if (!item.doc) continue;
      const doc = this.docs.get(item.doc);
      if (item.t === "create") {
        const after = item.after ?? "";
        if (documentId(this.id, item.path, after) !== item.doc) this.found("document", item.record.id, `id of ${item.path}`);
        const named = after && places.get(after.split(":").slice(0, 2).join(":"));
        if (after && !(named && has(item.record.view, named))) this.found("document", item.record.id, `after ${after} is not in its past`);
      } else if (!doc.seenBy(item).some((other) => other.t === "create")) {
        this.found("document", item.record.id, `${item.t} of ${item.doc}, whose create it has not seen`);
      }
      if (item.hash) {
        doc.bytes(item);
        doc.checkRender(item);
      }
    }
  }

  /** The files of a view: a Map from path to { mode, git, hash }. */
  files(view) {
    const claims = new Map();
    const standing = new Map();
    const movedirs = this.movedirs.filter((item) => effective(view, item));
    for (const doc of this.docs.values()) {
      const items = doc.in(view);
      if (!doc.lives(items)) continue;
      const claim = doc.claim(items);
      const content = doc.content(items);
      if (!claim || !content) continue;
      const later = movedirs.filter((item) => !sees(claim, item));
      claims.set(doc.id, later.reduce((path, { from, to }) => moved(path, from, to), claim.path));
      standing.set(doc.id, { mode: doc.mode(items), git: content.git, hash: content.hash });
    }
    const paths = settle(claims);
    return new Map([...paths].map(([doc, path]) => [path, standing.get(doc)]));
  }

  /** The maximal transactions with a commit in a view. */
  commitHeads(view) {
    const last = new Map();
    for (const one of this.transactions) {
      if (one.commits && has(view, one.last)) last.set(one.last.device, one);
    }
    const all = [...last.values()];
    return all.filter((one) => !all.some((other) => other !== one && has(other.last.past, one.last)));
  }

  /** The commit of a view: that of its one head, or a merge; null without. */
  head(view) {
    const heads = this.commitHeads(view);
    if (heads.length < 2) return heads[0]?.commit ?? null;
    const ids = heads.map(({ last }) => last.id).sort();
    const key = ids.join(" ");
    if (!this.#merges.has(key)) {
      this.#merges.set(key, commitId({
        tree: treeId(this.files(union(...heads.map(({ last }) => last.view)))),
        parents: heads.map(({ commit }) => commit).sort(),
        author: { name: "aios", email: "merge@aios" },
        time: Math.max(...heads.map(({ last }) => seconds(last))),
        message: mergeMessage(ids),
      }));
    }
    return this.#merges.get(key);
  }

  #commit() {
    for (const one of this.transactions) one.commits = one.items.some(({ t }) => t !== "event");
    for (const one of this.transactions) {
      if (one.commits) one.commit = this.#commitOf(one);
    }
    for (const record of this.records) {
      if (!("onto" in record.content)) continue;
      const computed = this.head(record.past);
      if (record.content.onto !== computed) {
        this.found("onto", record.id, `onto ${record.content.onto}, computed ${computed}`);
      }
    }
  }

  #commitOf({ last, items }) {
    const first = this.head(last.past);
    const parents = [
      ...(first ? [first] : []),
      ...items.filter(({ t }) => t === "history").map(({ tip }) => tip),
    ];
    const tree = treeId(this.files(last.view));
    const foreign = items.filter(({ t }) => t === "commit").map((item) => ({ ...readCommit(item.raw), named: item.git }));
    for (const { id, named } of foreign) {
      if (id !== named) this.found("commit", last.id, `raw commit is ${id}, not ${named}`);
    }
    const [only] = foreign;
    const taken =
      foreign.length === 1 && only.tree === tree && only.parents.join() === parents.join();
    if (taken) return only.id;
    return commitId({
      tree,
      parents: [...parents, ...foreign.map(({ id }) => id)],
      author: last.content.author ?? {},
      time: seconds(last),
      message: recordMessage(last),
    });
  }

  get merges() {
    return this.#merges.size;
  }
}
