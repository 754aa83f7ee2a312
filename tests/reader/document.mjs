// A text document as Automerge: the derived changes, and reading what a version of it renders.
//
// The low-level handle is used throughout, because it shows the id of each operation and every concurrent
// value. Its positions are UTF-16, as those of all strings here; the changes do not hold positions.

import * as Automerge from "@automerge/automerge";
import { H, compare, compareList } from "./hash.mjs";
import { align, lines } from "./align.mjs";
import { endsOf, turn } from "./ends.mjs";
import { fences, hasFront, render, renderFront, split } from "./markdown.mjs";

const ROOT = "_root";
const NUL = "\0";
// The skeleton makes these objects with its operations 1 to 4.
const OBJECTS = ["body", "front", "items", "order"];

const open = (actor, changes) => {
  const handle = Automerge.getBackend(Automerge.init({ actor }));
  handle.applyChanges(changes);
  return handle;
};

/** Commits what is pending at time 0 without a message. */
function finish(handle, actor) {
  const hash = handle.commit(null, 0);
  return { actor, hash, bytes: handle.getLastLocalChange() };
}

const actorOf = (...parts) => H(...parts).slice(0, 32);

/** The skeleton of a document's epoch. */
export function skeleton(doc, epoch) {
  const actor = actorOf("aios-skeleton-v1\n", doc, "\n", epoch);
  const handle = open(actor, []);
  handle.putObject(ROOT, "body", "");
  handle.putObject(ROOT, "front", {});
  handle.putObject(ROOT, "items", []);
  handle.putObject(ROOT, "order", []);
  const objects = Object.fromEntries(OBJECTS.map((name, i) => [name, `${i + 1}@${actor}`]));
  return { ...finish(handle, actor), objects };
}

/** The change that puts a file's parts on the skeleton. */
export function content(doc, epoch, base, text, kind) {
  const ends = endsOf(text);
  const parts = split(turn(ends, text), kind);
  const actor = actorOf("aios-content-v1\n", doc, "\n", epoch, "\n", H(text));
  const handle = open(actor, [base.bytes]);
  const { front, items, order, body } = base.objects;
  if (ends !== null) handle.put(ROOT, "ends", ends, "str");
  if (parts.open !== null) {
    handle.put(ROOT, "open", parts.open, "str");
    handle.put(ROOT, "close", parts.close, "str");
  }
  for (const entry of parts.entries) {
    handle.put(front, entry.name, entry.value, "str");
    handle.insert(order, handle.length(order), entry.name, "str");
    for (const item of entry.items) {
      handle.insert(items, handle.length(items), `${entry.name}${NUL}${item}`, "str");
    }
  }
  const before = handle.pendingOps();
  if (parts.body !== "") handle.splice(body, 0, 0, parts.body);
  const made = { text, body: parts.body, first: OBJECTS.length + before + 1 };
  if (handle.pendingOps() > 0) return { ...finish(handle, actor), ...made };
  const hash = handle.emptyChange(null, 0);
  return { actor, hash, bytes: handle.getLastLocalChange(), ...made };
}

/** The runs of lines [from, to) of text `y` that text `x` holds too. */
function matchedRuns(x, y) {
  const runs = [];
  for (const [, j] of align(lines(x), lines(y))) {
    if (runs.at(-1)?.[1] === j) runs.at(-1)[1] = j + 1;
    else runs.push([j, j + 1]);
  }
  return runs;
}

/** The change that removes from the body that stands second what the first has; null when nothing matches. */
export function join(doc, base, one, other) {
  const [x, y] = compare(H(one.text), H(other.text)) < 0 ? [one, other] : [other, one];
  // Of two insertions at one place the one with the greater operation id stands first.
  const [first, second] = compareList([y.first, y.actor], [x.first, x.actor]) > 0 ? [y, x] : [x, y];
  const runs = matchedRuns(first.body, second.body);
  if (runs.length === 0) return null;
  const actor = actorOf("aios-join-v1\n", doc, "\n", H(x.text), "\n", H(y.text));
  const handle = open(actor, [base.bytes, x.bytes, y.bytes]);
  const own = lines(second.body);
  const length = (list) => list.reduce((sum, line) => sum + line.length, 0);
  for (const [from, to] of runs.toReversed()) {
    handle.splice(base.objects.body, first.body.length + length(own.slice(0, from)), length(own.slice(from, to)));
  }
  return { ...finish(handle, actor), joins: [x.hash, y.hash], removed: runs };
}

/** One Automerge document that grows by changes and is read at versions. */
export class Document {
  #handle = open(undefined, []);
  #known = new Set();
  #joins = [];
  #contents = new Set();
  #metas = null;

  constructor(base, kind) {
    this.objects = base.objects;
    this.kind = kind;
    this.add([base]);
  }

  /** Adds those of the changes `{ hash, bytes }` that it does not have. */
  add(changes) {
    const fresh = changes.filter(({ hash }) => !this.#known.has(hash));
    if (fresh.length === 0) return;
    this.#handle.applyChanges(fresh.map(({ bytes }) => bytes));
    for (const { hash } of fresh) this.#known.add(hash);
    this.#joins.push(...fresh.filter(({ joins }) => joins));
    for (const { hash, body } of fresh) if (body !== undefined) this.#contents.add(hash);
    this.#metas = null;
    const missing = this.#handle.getMissingDeps([]);
    if (missing.length > 0) throw new Error(`changes missing: ${missing.join(" ")}`);
  }

  #meta() {
    if (this.#metas) return this.#metas;
    const byHash = new Map();
    const byActor = new Map();
    for (const one of this.#handle.getChangesMeta([])) {
      byHash.set(one.hash, { deps: one.deps, below: null });
      byActor.set(one.actor, [...(byActor.get(one.actor) ?? []), one]);
    }
    return (this.#metas = { byHash, byActor });
  }

  /** All changes that a change rests on. */
  #below(hash) {
    const { byHash } = this.#meta();
    const meta = byHash.get(hash);
    if (!meta) throw new Error(`no change ${hash}`);
    if (!meta.below) {
      meta.below = new Set();
      const next = [...meta.deps];
      while (next.length > 0) {
        const one = next.pop();
        if (meta.below.has(one)) continue;
        meta.below.add(one);
        next.push(...byHash.get(one).deps);
      }
    }
    return meta.below;
  }

  /** The version that some changes name: they, and the joins of all contents below them. */
  #version(hashes) {
    const all = new Set(hashes.flatMap((hash) => [hash, ...this.#below(hash)]));
    for (const { hash, joins } of this.#joins) {
      if (joins.every((one) => all.has(one))) all.add(hash);
    }
    const { byHash } = this.#meta();
    const inner = new Set([...all].flatMap((hash) => byHash.get(hash).deps));
    return [...all].filter((hash) => !inner.has(hash));
  }

  /** The hash of the change that made an operation id `COUNT@ACTOR`. */
  #maker(id) {
    const [count, actor] = id.split("@");
    const found = this.#meta().byActor.get(actor)?.find((one) => one.startOp <= +count && +count <= one.maxOp);
    if (!found) throw new Error(`no change made ${id}`);
    return found.hash;
  }

  /** The registers at the version of some changes; `rankOf` gives the rank of a change hash. */
  registers(hashes, rankOf) {
    const handle = this.#handle;
    const at = this.#version(hashes);
    const winner = (object, key) => {
      const values = handle.getAll(object, key, at).filter(([type]) => type === "str");
      if (values.length < 2) return values[0]?.[1] ?? null;
      const ranked = values.map(([, text, id]) => ({ text, maker: this.#maker(id) }));
      const order = (a, b) => compareList(rankOf(a.maker), rankOf(b.maker)) || compare(a.maker, b.maker);
      return ranked.sort(order).at(-1).text;
    };
    const elements = (list) => {
      const count = handle.length(list, at);
      const found = Array.from({ length: count }, (_, i) => handle.getAll(list, i, at).at(-1));
      return found.filter(([type]) => type === "str").map(([, text, id]) => ({ text, id }));
    };
    const { front: map, items, order, body } = this.objects;
    const front = new Map();
    if (this.kind !== "md") {
      return { ends: winner(ROOT, "ends"), open: null, close: null, front, order: [], items: [], body: this.#body(at) };
    }
    for (const key of handle.keys(map, at)) {
      const text = winner(map, key);
      if (text !== null) front.set(key, text);
    }
    return {
      ends: winner(ROOT, "ends"),
      ...fences((key) => winner(ROOT, key), front),
      front,
      order: elements(order).map(({ text }) => text),
      items: this.#once(elements(items)),
      body: this.#body(at),
    };
  }

  /** The body at a version, without what was written twice at once in one place. */
  #body(at) {
    const { body } = this.objects;
    const whole = this.#handle.text(body, at);
    if (!this.#forked()) return whole;
    const stretches = [];
    for (let i = 0; i < whole.length; ) {
      const [, text, id] = this.#handle.getAll(body, i, at).at(-1);
      const maker = this.#maker(id);
      const last = stretches.at(-1);
      if (last?.maker === maker) Object.assign(last, { text: last.text + text, count: last.count + 1 });
      else stretches.push({ maker, id, text, count: 1, done: false });
      i += text.length;
    }
    const hider = new Map();
    const siblings = new Map();
    const decoded = new Map();
    for (const one of stretches) {
      const behind = this.#behind(one, decoded);
      if (behind === null) continue;
      if (!siblings.has(behind)) siblings.set(behind, []);
      const before = siblings.get(behind);
      const shown = before.filter((other) => !hider.has(other));
      const by = shown.find((other) => this.#hides(other, one));
      if (by) hider.set(one, by);
      for (const other of by ? [] : shown) {
        const own = before.filter((any) => any === other || hider.get(any) === other);
        if (own.every((any) => this.#hides(one, any))) own.forEach((any) => hider.set(any, one));
      }
      before.push(one);
    }
    return stretches.filter((one) => !hider.has(one)).map(({ text }) => text).join("");
  }

  /** Whether two changes rest on one. */
  #forked() {
    const rested = new Set();
    for (const { deps } of this.#meta().byHash.values()) {
      for (const dep of deps) {
        if (rested.has(dep)) return true;
        rested.add(dep);
      }
    }
    return false;
  }

  /** Whether one stretch may stand for another: the same, or one that begins with its lines. */
  #hides(one, other) {
    if (!one.text.startsWith(other.text)) return false;
    const lines = /[^\n]/.test(other.text) && (other.text.endsWith("\n") || one.text[other.text.length] === "\n");
    if (one.text !== other.text && !lines) return false;
    if (one.maker === other.maker) return false;
    return !this.#below(one.maker).has(other.maker) && !this.#below(other.maker).has(one.maker);
  }

  /** What a stretch was put behind; null of a content, or if it is not all that was put there. */
  #behind({ maker, id, count }, decoded) {
    if (this.#contents.has(maker)) return null;
    if (!decoded.has(maker)) decoded.set(maker, this.#handle.getDecodedChangeByHash(maker));
    const { startOp, ops } = decoded.get(maker);
    const [first, actor] = [+id.split("@")[0] - startOp, id.split("@")[1]];
    let last = first;
    while (ops[last + 1]?.insert && ops[last + 1].elemId === `${startOp + last}@${actor}`) last += 1;
    return ops[first].insert && last - first + 1 === count ? ops[first].elemId : null;
  }

  /** Items as [name, item], without those that a concurrent change made, too. */
  #once(found) {
    const all = found.flatMap(({ text, id }) => {
      const cut = text.indexOf(NUL);
      if (cut < 0) return [];
      const [name, item] = [text.slice(0, cut), text.slice(cut + 1)];
      return [{ name, item, maker: this.#maker(id) }];
    });
    const makers = new Map();
    const kept = [];
    for (const one of all) {
      const same = `${one.name}${NUL}${one.item}`;
      const before = makers.get(same) ?? [];
      const rests = (a, b) => a === b || this.#below(a).has(b);
      if (before.every((other) => rests(one.maker, other) || rests(other, one.maker))) kept.push(one);
      makers.set(same, [...before.filter((other) => other !== one.maker), one.maker]);
    }
    return kept.map(({ name, item }) => [name, item]);
  }

  /** What the version of some changes renders: `{ text, front }`, `front` true when that of one head stands. */
  read(hashes, rankOf) {
    const registers = this.registers(hashes, rankOf);
    const { text, front } = this.#held(registers, hashes, rankOf);
    return { text: turn(registers.ends, text), front };
  }

  /** The same with its line ends as the document holds them. */
  #held(registers, hashes, rankOf) {
    const text = render(registers);
    const inner = new Set(hashes.flatMap((hash) => [...this.#below(hash)]));
    const heads = [...new Set(hashes)].filter((hash) => !inner.has(hash));
    if (heads.length < 2 || registers.open === null || hasFront(text)) return { text, front: false };
    const alone = heads.map((hash) => ({ hash, registers: this.registers([hash], rankOf) }));
    if (!alone.every((head) => hasFront(render(head.registers)))) return { text, front: false };
    alone.sort((a, b) => compareList(rankOf(a.hash), rankOf(b.hash)) || compare(a.hash, b.hash));
    const ended = render({ ...registers, close: `${registers.close ?? ""}\n` });
    if (hasFront(ended)) return { text: ended, front: false };
    return { text: renderFront(alone.at(-1).registers) + registers.body, front: true };
  }
}

/** The hash of a change chunk. */
export const changeHash = (bytes) => Automerge.decodeChange(bytes).hash;
