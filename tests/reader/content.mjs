// The content of one document: its heads, and how several become one.

import { H, bytesOf, compare, compareList, textOf } from "./hash.mjs";
import { lineMerge } from "./align.mjs";
import { changeHash, content as contentChange, Document, join, skeleton } from "./document.mjs";
import { blobId } from "./git.mjs";
import { byRank, effective, epochOf, forgets, sees, seenView, uncovered } from "./history.mjs";
import { textKind } from "./record.mjs";
import { intersection, union } from "./view.mjs";

const CONTENT = new Set(["create", "edit", "replace"]);

/** One document of a vault with all items on it. */
export class Doc {
  #standing = new Map();
  #results = new Map();
  #epochs = new Map();

  constructor(id, found) {
    this.id = id;
    this.items = [];
    /** What bodies name for it: { past, git }. */
    this.names = [];
    this.found = found;
    /** Whether two ever wrote at once, as far as it was read. */
    this.concurrent = false;
  }

  in(view) {
    return this.items.filter((item) => effective(view, item));
  }

  seenBy(item) {
    return this.items.filter((other) => other !== item && sees(item, other));
  }

  /** What it is in a view: { claim, mode, hash, git }, or null where it does not live. `claim` is an item. */
  at(view) {
    const items = this.in(view);
    const key = keyOf(items);
    if (!this.#standing.has(key)) this.#standing.set(key, this.#stand(items));
    return this.#standing.get(key);
  }

  #stand(items) {
    if (items.some(forgets)) return null;
    const deletes = items.filter((item) => item.t === "delete");
    const kept = items.filter((item) => item.t !== "delete");
    if (!kept.some((item) => !deletes.some((gone) => sees(gone, item)))) return null;
    const claim = last(kept.filter((item) => item.t === "create" || item.t === "move"));
    const content = this.content(kept);
    if (!claim || !content) return null;
    return { claim, mode: this.#mode(kept, content.kind), hash: content.hash, git: content.git };
  }

  #mode(items, kind) {
    if (kind === "link") return "120000";
    const set = last(items.filter((item) => item.t === "mode")) ?? creates(items)[0];
    return set.mode === "120000" ? "100644" : set.mode;
  }

  /** The content of a set of items: { kind, hash, git, bytes } or null. Blobs have no bytes. */
  content(items) {
    const own = items.filter((item) => CONTENT.has(item.t));
    if (own.length === 0) return null;
    const key = keyOf(own);
    if (!this.#results.has(key)) this.#results.set(key, this.#settle(own));
    return this.#results.get(key);
  }

  #settle(items) {
    const found = heads(items);
    if (found.length === 1) return this.#of(found[0], items);
    if (found.length === 0) return null;
    // Who lacks the text goes by what was named for these heads.
    if (items.some((item) => this.#lacks(item))) return { kind: "md", hash: null, git: this.#named(items), bytes: null };
    this.concurrent = true;
    const epoch = this.#automerge(items);
    if (epoch) return whole(epoch.kind, this.#render(epoch, found).text);
    if (found.every((head) => textKind(kindOf(head, items)))) return whole("lines", this.#byLines(found));
    return this.#of(found.at(-1), items);
  }

  /** Whether the text of an item cannot be had: it is not with its record, or rests on one that is not. */
  #lacks(item) {
    item.lacks ??= item.absent || (item.t === "edit" && this.seenBy(item).some((one) => CONTENT.has(one.t) && this.#lacks(one)));
    return item.lacks;
  }

  #named(items) {
    const key = nameKey(items);
    return this.names.find(({ past }) => nameKey(this.#contentIn(past)) === key)?.git ?? null;
  }

  #contentIn(view) {
    return this.in(view).filter((item) => CONTENT.has(item.t));
  }

  /** Checks that what bodies name is what the text comes to. */
  checkNames() {
    for (const { past, git, record } of this.names) {
      const items = this.#contentIn(past);
      if (heads(items).length < 2) this.found("merged", record.id, `${this.id} is named and was not merged`);
      else if (this.content(items).git !== git) this.found("merged", record.id, `${this.id} is named ${git}`);
    }
  }

  #of(item, items) {
    return { kind: kindOf(item, items), hash: item.hash, git: item.git, bytes: this.bytes(item) };
  }

  /** The bytes after an item; null for a blob. */
  bytes(item) {
    if (item.result !== undefined) return item.result;
    if (this.#lacks(item)) return (item.result = null);
    item.result = item.t === "edit" ? this.#patched(item) : (item.bytes ?? null);
    if (!item.result) return null;
    // The hash of a payload was checked with its record.
    const named = item.t !== "edit" || (H(item.result) === item.hash && item.result.length === item.size);
    if (!named || blobId(item.result) !== item.git) {
      this.found("item", item.record.id, `hash, size or git of ${item.t} ${this.id} do not describe it`);
    }
    if ((item.t === "edit" || textKind(item.kind)) && textOf(item.result) === null) {
      this.found("item", item.record.id, `text of ${this.id} is not UTF-8`);
    }
    return item.result;
  }

  #patched(item) {
    const seen = this.content(this.seenBy(item));
    let base = seen?.hash === item.from ? seen.bytes : null;
    if (!base) {
      this.found("base", item.record.id, `base of edit ${this.id} is ${item.from}, computed ${seen?.hash ?? "none"}`);
      base = this.items.find((one) => one.result && one.hash === item.from)?.result;
      if (!base) return new Uint8Array();
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

  /** The epoch that a set of items forms as one Automerge document: { name, kind, starts, edits }, or null. */
  #automerge(items) {
    const replaces = items.filter((item) => item.t === "replace");
    const start = replaces.find((one) =>
      items.every((item) => item === one || (item.t === "edit" && item.epoch === epochOf(one)) || sees(one, item)),
    );
    if (replaces.length > 0 && !start) return null;
    const name = start ? epochOf(start) : "";
    const starts = start ? [start] : creates(items);
    const edits = items.filter((item) => item.t === "edit" && (item.epoch ?? "") === name);
    const [kind, ...others] = new Set(starts.map((one) => one.kind));
    if (others.length > 0 || (kind !== "md" && kind !== "text")) return null;
    return edits.every((item) => item.delta.patch < item.delta.size) ? { name, kind, starts, edits } : null;
  }

  /** What an epoch renders at heads that are of it: { text, front }. */
  #render({ name, kind, starts, edits }, found) {
    if (!this.#epochs.has(name)) {
      const base = skeleton(this.id, name);
      this.#epochs.set(name, { base, contents: new Map(), document: new Document(base, kind) });
    }
    const { base, contents, document } = this.#epochs.get(name);
    const made = new Map();
    const ranks = new Map();
    const rank = (hash, item) => {
      if (!ranks.has(hash)) ranks.set(hash, item.rank);
    };
    const changes = [];
    for (const item of starts) {
      let change = contents.get(item.hash);
      if (!change) {
        change = contentChange(this.id, name, base, textOf(this.bytes(item)), kind);
        changes.push(change);
        if (name === "") {
          const joined = [...contents.values()].map((other) => join(this.id, base, other, change));
          changes.push(...joined.filter((one) => one));
        }
        contents.set(item.hash, change);
      }
      rank(change.hash, item);
      made.set(item, change.hash);
    }
    for (const item of edits) {
      if (!item.named) {
        const bytes = Buffer.from(item.change);
        item.named = { hash: changeHash(bytes), bytes };
        changes.push(item.named);
      }
      rank(item.named.hash, item);
      made.set(item, item.named.hash);
    }
    document.add(changes);
    return document.read(found.map((item) => made.get(item)), (hash) => ranks.get(hash) ?? []);
  }

  #byLines(found) {
    let text = textOf(this.bytes(found[0]));
    let view = seenView(found[0]);
    for (const head of found.slice(1)) {
      const base = this.content(this.in(intersection(view, seenView(head))));
      text = lineMerge((base?.bytes && textOf(base.bytes)) ?? "", text, textOf(this.bytes(head)));
      view = union(view, seenView(head));
    }
    return text;
  }

  /** Checks that an item's Automerge document, as its author saw it, renders the item's bytes. */
  checkRender(item) {
    const epoch = this.#automerge([...this.seenBy(item).filter((one) => CONTENT.has(one.t)), item]);
    if (!epoch || this.#lacks(item) || (item.t === "edit" && (item.epoch ?? "") !== epoch.name)) return;
    try {
      if (H(this.#render(epoch, [item]).text) !== item.hash) {
        this.found("render", item.record.id, `Automerge of ${this.id} renders another text`);
      }
    } catch (error) {
      this.found("render", item.record.id, `Automerge of ${this.id}: ${error.message ?? error}`);
    }
  }
}

/** What a name stands for: heads, and the creates that rank them. */
const nameKey = (items) => `${keyOf(heads(items))}|${keyOf(creates(items))}`;

const keyOf = (items) => items.map(({ index }) => index).join(" ");

/** Of the items that no other covers, the one of greatest rank. */
const last = (items) => [...uncovered(items)].sort(byRank).at(-1);

const creates = (items) => items.filter((item) => item.t === "create").sort(byRank);

/** The kind of the content an item leaves. */
function kindOf(item, items) {
  if (item.t !== "edit") return item.kind;
  const epoch = item.epoch ?? "";
  const start = epoch ? items.find((one) => one.t === "replace" && epochOf(one) === epoch) : creates(items)[0];
  return start?.kind ?? "lines";
}

function whole(kind, text) {
  const bytes = bytesOf(text);
  return { kind, hash: H(bytes), git: blobId(bytes), bytes };
}

/** The content items that no other covers, by rank; if all are the same file, the one of least rank. */
function heads(items) {
  const bare = new Set(uncovered(items));
  const kept = [];
  for (const item of [...bare].sort(byRank)) {
    const twins = item.t === "create" ? items.filter((one) => one.t === "create" && one.hash === item.hash) : [item];
    const free = twins.every((one) => bare.has(one) || !items.some((other) => !twins.includes(other) && sees(other, one)));
    if (free) kept.push(item);
  }
  const equal = (one) => one.hash === kept[0].hash && kindOf(one, items) === kindOf(kept[0], items);
  return kept.every(equal) ? kept.slice(0, 1) : kept;
}
