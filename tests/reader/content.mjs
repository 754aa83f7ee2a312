// The content of one document: its heads, and how several become one.

import { H, bytesOf, compare, compareList, textOf } from "./hash.mjs";
import { lineMerge } from "./align.mjs";
import { changeHash, content as contentChange, Document, join, skeleton } from "./document.mjs";
import { blobId } from "./git.mjs";
import { epochOf, effective, sees, uncovered } from "./history.mjs";
import { hasFront, split } from "./markdown.mjs";
import { textKind } from "./record.mjs";
import { intersection, union } from "./view.mjs";

const CONTENT = new Set(["create", "edit", "replace"]);
const byRank = (a, b) => compareList(a.rank, b.rank);

/** One document of a vault with all items on it. */
export class Doc {
  #results = new Map();
  #derived = new Map();
  #grown = new Map();

  constructor(id, found) {
    this.id = id;
    this.items = [];
    this.found = found;
  }

  in(view) {
    return this.items.filter((item) => effective(view, item));
  }

  seenBy(item) {
    return this.items.filter((other) => other !== item && sees(item, other));
  }

  lives(items) {
    const deletes = items.filter((item) => item.t === "delete");
    return items.some((item) => item.t !== "delete" && !deletes.some((gone) => sees(gone, item)));
  }

  claim(items) {
    return uncovered(items.filter((item) => item.t === "create" || item.t === "move")).sort(byRank).at(-1);
  }

  mode(items) {
    const set = uncovered(items.filter((item) => item.t === "mode")).sort(byRank).at(-1);
    return (set ?? items.filter((item) => item.t === "create").sort(byRank)[0]).mode;
  }

  /** The content of a set of items: { hash, git, bytes } or null. Blobs have no bytes. */
  content(items) {
    const own = items.filter((item) => CONTENT.has(item.t));
    if (own.length === 0) return null;
    const last = new Map(own.map((item) => [item.record.device, item.index]));
    const key = [...last].map((pair) => pair.join(":")).sort().join(" ");
    if (!this.#results.has(key)) this.#results.set(key, this.#settle(own));
    return this.#results.get(key);
  }

  #settle(items) {
    const found = heads(items).sort(byRank);
    if (found.length === 1) return this.#of(found[0]);
    const automerge = this.#automerge(items);
    if (automerge) return whole(this.#merged(automerge, found));
    if (found.every((head) => head.t === "edit" || textKind(head.kind))) return whole(this.#byLines(found));
    return this.#of(found.at(-1));
  }

  #of(item) {
    return { hash: item.hash, git: item.git, bytes: this.bytes(item) };
  }

  /** The bytes after an item; null for a blob. */
  bytes(item) {
    if (item.result !== undefined) return item.result;
    item.result = item.t === "edit" ? this.#patched(item) : (item.bytes ?? null);
    if (item.result && (H(item.result) !== item.hash || item.result.length !== item.size || blobId(item.result) !== item.git)) {
      this.found("item", item.record.id, `hash, size or git of ${item.t} ${this.id} do not describe it`);
    }
    if (item.result && (item.t === "edit" || textKind(item.kind)) && textOf(item.result) === null) {
      this.found("item", item.record.id, `text of ${this.id} is not UTF-8`);
    }
    return item.result;
  }

  #patched(item) {
    const seen = this.content(this.seenBy(item));
    let base = seen?.hash === item.from ? seen.bytes : null;
    if (!base) {
      this.found("base", item.record.id, `base of edit ${this.id} is ${item.from}, computed ${seen?.hash ?? "none"}`);
      const other = this.items.find((one) => one.result && one.hash === item.from);
      if (!other) return new Uint8Array();
      base = other.after;
    }
    const out = [];
    let at = 0;
    for (const [offset, gone, text] of item.patch) {
      if (offset < at || offset + gone > base.length) {
        this.found("patch", item.record.id, `patch of ${this.id} does not fit its base`);
        return new Uint8Array();
      }
      out.push(base.subarray(at, offset), bytesOf(text));
      at = offset + gone;
    }
    out.push(base.subarray(at));
    return new Uint8Array(Buffer.concat(out));
  }

  /** The epoch that a set of items forms as one Automerge document, or null. */
  #automerge(items) {
    const replaces = items.filter((item) => item.t === "replace");
    const start = replaces.find((one) =>
      items.every((item) => item === one || (item.t === "edit" && item.epoch === epochOf(one)) || sees(one, item)),
    );
    if (replaces.length > 0 && !start) return null;
    const epoch = start ? epochOf(start) : "";
    const starts = start ? [start] : items.filter((item) => item.t === "create");
    const edits = items.filter((item) => item.t === "edit" && (item.epoch ?? "") === epoch);
    if (starts.length === 0 || !starts.every(({ kind }) => kind === "md" || kind === "text")) return null;
    return edits.every((item) => item.change) ? { epoch, starts, edits } : null;
  }

  #build({ epoch, starts, edits }) {
    const derive = (key, make) => {
      if (!this.#derived.has(key)) this.#derived.set(key, make());
      return this.#derived.get(key);
    };
    const base = derive(`skeleton ${epoch}`, () => skeleton(this.id, epoch));
    const ranks = new Map();
    const rank = (hash, item) => {
      if (!ranks.has(hash) || compareList(item.rank, ranks.get(hash)) < 0) ranks.set(hash, item.rank);
    };
    const contents = new Map();
    for (const item of [...starts].sort(byRank)) {
      const change = derive(`content ${epoch} ${item.hash}`, () =>
        contentChange(this.id, epoch, base, textOf(this.bytes(item)), item.kind),
      );
      rank(change.hash, item);
      contents.set(item.hash, change);
    }
    const changes = [base, ...contents.values()];
    const hashes = [...contents.keys()].sort(compare);
    for (const x of hashes) {
      for (const y of hashes.slice(hashes.indexOf(x) + 1)) {
        const change = derive(`join ${x} ${y}`, () => join(this.id, base, contents.get(x), contents.get(y)));
        if (change) changes.push(change);
      }
    }
    for (const item of edits) {
      const bytes = Buffer.from(item.change, "base64");
      const change = derive(`edit ${item.index}`, () => ({ hash: changeHash(bytes), bytes }));
      rank(change.hash, item);
      changes.push(change);
    }
    const named = changes.map(({ hash, bytes }) => [hash, bytes]);
    const names = new Set(named.map(([name]) => name));
    let grown = this.#grown.get(epoch);
    if (!grown || ![...grown.known].every((name) => names.has(name))) grown = new Document();
    grown.add(named);
    this.#grown.set(epoch, grown);
    return grown.render((hash) => ranks.get(hash) ?? []);
  }

  #merged(automerge, found) {
    const text = this.#build(automerge);
    const registers = this.#grown.get(automerge.epoch).registers(() => []);
    if (registers.open === null || hasFront(text)) return text;
    const alone = textOf(this.bytes(found.at(-1)));
    return alone.slice(0, alone.length - split(alone).body.length) + registers.body;
  }

  #byLines(found) {
    let text = textOf(this.bytes(found[0]));
    let view = viewOfHead(found[0]);
    for (const head of found.slice(1)) {
      const base = this.content(this.in(intersection(view, viewOfHead(head))));
      text = lineMerge((base?.bytes && textOf(base.bytes)) ?? "", text, textOf(this.bytes(head)));
      view = union(view, viewOfHead(head));
    }
    return text;
  }

  /** Checks that an item's Automerge document, as its author saw it, renders the item's bytes. */
  checkRender(item) {
    const automerge = this.#automerge([...this.seenBy(item).filter((one) => CONTENT.has(one.t)), item]);
    if (!automerge || (item.t === "edit" && (item.epoch ?? "") !== automerge.epoch)) return;
    try {
      if (H(this.#build(automerge)) !== item.hash) {
        this.found("render", item.record.id, `Automerge of ${this.id} renders another text`);
      }
    } catch (error) {
      this.found("render", item.record.id, `Automerge of ${this.id}: ${error.message ?? error}`);
    }
  }
}

const viewOfHead = (item) => item.base ?? item.transaction.last.view;

const whole = (text) => {
  const bytes = bytesOf(text);
  return { hash: H(bytes), git: blobId(bytes), bytes };
};

/** The content items that no other covers; creates of equal hash are one. */
function heads(items) {
  const bare = uncovered(items);
  const isHead = new Set(bare);
  const kept = [];
  for (const item of [...bare].sort(byRank)) {
    const twins = item.t === "create" ? items.filter((one) => one.t === "create" && one.hash === item.hash) : [item];
    if (twins.every((one) => isHead.has(one)) && !kept.some((one) => twins.includes(one))) kept.push(item);
  }
  return kept;
}
