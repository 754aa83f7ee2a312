// A vault as its log tells it: documents, trees, commits and HEAD.

import { Doc } from "./content.mjs";
import { led, lasting } from "./folder.mjs";
import { commitId, mergeMessage, readCommit, recordMessage, treeId } from "./git.mjs";
import { commits, effective, forgets, needsUpgrade, sees, transactions } from "./history.mjs";
import { compareList } from "./hash.mjs";
import { integrated, whole } from "./member.mjs";
import { documentId, settle } from "./path.mjs";
import { place, stamp } from "./record.mjs";
import { has, order, union } from "./view.mjs";

const seconds = (record) => Math.floor(record.wall / 1000);

export class Vault {
  #merges = new Map();

  /** `deep`: render every edited document as its author saw it, not only those written at once. */
  constructor(chains, found, { deep = false } = {}) {
    this.found = found;
    const members = integrated(order(chains, found), found);
    this.id = members.vault;
    this.records = members.records;
    this.view = whole(this.records);
    this.transactions = transactions(this.records);
    this.docs = new Map();
    this.movedirs = [];
    const unknown = this.records.filter(({ items }) => items.some(needsUpgrade));
    for (const { id, items } of unknown) found("upgrade", id, `upgrade needed: item ${items.find(needsUpgrade).t}`);
    /** Whether it can be projected; otherwise documents and commits stay unknown. */
    this.readable = unknown.length === 0;
    if (!this.readable) return;
    this.#collect();
    this.#check();
    this.#commit();
    for (const doc of this.docs.values()) {
      if (doc.items.some(({ t }) => t === "edit") && (deep || doc.concurrent)) {
        for (const item of doc.items) if (item.hash) doc.checkRender(item);
      }
    }
  }

  #collect() {
    for (const item of this.transactions.flatMap(({ items }) => items)) {
      if (item.t === "movedir") this.movedirs.push(item);
      if (!item.doc || (item.t === "event" && !forgets(item))) continue;
      if (!this.docs.has(item.doc)) this.docs.set(item.doc, new Doc(item.doc, this.found));
      const doc = this.docs.get(item.doc);
      const twice = item.hash && doc.items.some((other) => other.hash && other.transaction === item.transaction);
      if (twice) this.found("item", item.record.id, `two contents of ${item.doc} in one transaction`);
      doc.items.push(item);
    }
    for (const record of this.records) {
      for (const [doc, git] of Object.entries(record.content.merged ?? {})) {
        this.docs.get(doc)?.names.push({ past: record.past, git, record });
      }
    }
    this.movedirs.sort((a, b) => compareList(stamp(a.record), stamp(b.record)) || a.position - b.position);
  }

  #check() {
    const places = new Map(this.records.map((record) => [place(record), record]));
    for (const item of this.transactions.flatMap(({ items }) => items)) {
      if (!item.doc || item.t === "event") continue;
      const doc = this.docs.get(item.doc);
      if (item.t === "create") {
        const after = item.after ?? "";
        if (documentId(this.id, item.path, after) !== item.doc) this.found("document", item.record.id, `id of ${item.path}`);
        const named = after && places.get(after.split(":").slice(0, 2).join(":"));
        if (after && !(named && has(item.record.view, named))) this.found("document", item.record.id, `after ${after} is not in its past`);
      } else if (!doc.seenBy(item).some((other) => other.t === "create")) {
        this.found("document", item.record.id, `${item.t} of ${item.doc}, whose create it has not seen`);
      }
      if (item.hash) doc.bytes(item);
    }
    for (const doc of this.docs.values()) doc.checkNames();
  }

  /** The files of a view: a Map from path to { mode, git, hash }. */
  files(view) {
    const claims = new Map();
    const standing = new Map();
    const steps = lasting(this.movedirs.filter((item) => effective(view, item)));
    for (const doc of this.docs.values()) {
      const stands = doc.at(view);
      if (!stands) continue;
      claims.set(doc.id, led(stands.claim, steps));
      standing.set(doc.id, stands);
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
    const parents = [...new Set(heads.map(({ commit }) => commit))].sort();
    if (parents.length < 2) return parents[0] ?? null;
    const ids = heads.map(({ last }) => last.id).sort();
    const key = ids.join(" ");
    if (!this.#merges.has(key)) {
      this.#merges.set(key, commitId({
        tree: treeId(this.files(union(...heads.map(({ last }) => last.view)))),
        parents,
        author: { name: "aios", email: "merge@aios" },
        time: Math.max(...heads.map(({ last }) => seconds(last))),
        message: mergeMessage(ids),
      }));
    }
    return this.#merges.get(key);
  }

  #commit() {
    for (const one of this.transactions) one.commits = one.items.some(commits);
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
    const tips = items.filter(({ t }) => t === "history").map(({ tip }) => tip);
    const parents = [...new Set([...(first ? [first] : []), ...tips])];
    const tree = treeId(this.files(last.view));
    const foreign = items.filter(({ t }) => t === "commit").map((item) => ({ ...readCommit(item.raw), named: item.git }));
    for (const { id, named } of foreign) {
      if (id !== named) this.found("commit", last.id, `raw commit is ${id}, not ${named}`);
    }
    const [only] = foreign;
    const taken =
      foreign.length === 1 && only.id === only.named && only.tree === tree && only.parents.join() === parents.join();
    if (taken) return only.id;
    return commitId({
      tree,
      parents: [...new Set([...parents, ...foreign.map(({ named }) => named)])],
      author: last.content.author ?? {},
      time: seconds(last),
      message: recordMessage(last),
    });
  }

  get merges() {
    return this.#merges.size;
  }
}
