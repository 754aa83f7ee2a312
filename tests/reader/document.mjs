// A text document as Automerge: the derived changes, and reading what a set of changes renders.
//
// The low-level handle is used throughout, because it shows the id of each operation and every concurrent
// value. Its positions are UTF-16, as those of all strings here; the changes do not hold positions.

import * as Automerge from "@automerge/automerge";
import { H, compare, compareList } from "./hash.mjs";
import { align, lines } from "./align.mjs";
import { render, split } from "./markdown.mjs";

const ROOT = "_root";
const SKELETON_OPS = 4;

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
  return finish(handle, actor);
}

/** The change that puts a file's parts on the skeleton. */
export function content(doc, epoch, base, text, kind) {
  const parts = split(text, kind);
  const actor = actorOf("aios-content-v1\n", doc, "\n", epoch, "\n", H(text));
  const handle = open(actor, [base.bytes]);
  const [front, items, order, body] = ["front", "items", "order", "body"].map((name) => at(handle, name));
  if (parts.open !== null) {
    handle.put(ROOT, "open", parts.open, "str");
    handle.put(ROOT, "close", parts.close, "str");
  }
  for (const entry of parts.entries) {
    handle.put(front, entry.name, entry.value, "str");
    handle.insert(order, handle.length(order), entry.name, "str");
    for (const item of entry.items) {
      handle.insert(items, handle.length(items), `${entry.name}\0${item}`, "str");
    }
  }
  const before = handle.pendingOps();
  if (parts.body !== "") handle.splice(body, 0, 0, parts.body);
  if (handle.pendingOps() === 0) {
    const hash = handle.emptyChange(null, 0);
    return { actor, hash, bytes: handle.getLastLocalChange(), text, body: parts.body, first: 0 };
  }
  return { ...finish(handle, actor), text, body: parts.body, first: SKELETON_OPS + before + 1 };
}

/** The runs of lines [from, to) of body Y that body X holds too. */
export function matchedRuns(x, y) {
  const runs = [];
  for (const [, j] of align(lines(x), lines(y))) {
    if (runs.at(-1)?.[1] === j) runs.at(-1)[1] = j + 1;
    else runs.push([j, j + 1]);
  }
  return runs;
}

/** The change that removes from the body of Y what X has; null when nothing matches. */
export function join(doc, base, one, other) {
  const [x, y] = compare(H(one.text), H(other.text)) < 0 ? [one, other] : [other, one];
  const runs = matchedRuns(x.body, y.body);
  if (runs.length === 0) return null;
  const actor = actorOf("aios-join-v1\n", doc, "\n", H(x.text), "\n", H(y.text));
  const handle = open(actor, [base.bytes, x.bytes, y.bytes]);
  const body = at(handle, "body");
  // Of two insertions at one place the one with the greater operation id stands first.
  const yFirst = compareList([y.first, y.actor], [x.first, x.actor]) > 0;
  const start = yFirst ? 0 : x.body.length;
  const own = lines(y.body);
  const length = (list) => list.reduce((sum, line) => sum + line.length, 0);
  for (const [from, to] of runs.reverse()) {
    handle.splice(body, start + length(own.slice(0, from)), length(own.slice(from, to)));
  }
  return finish(handle, actor);
}

function at(handle, name) {
  const found = handle.getWithType(ROOT, name);
  if (!found || !["map", "list", "text"].includes(found[0])) throw new Error(`no object ${name}`);
  return found[1];
}

/** One Automerge document that grows by changes. */
export class Document {
  #handle = open(undefined, []);
  #known = new Set();

  /** Adds changes (as bytes, by name) that it does not have. */
  add(changes) {
    const fresh = changes.filter(([name]) => !this.#known.has(name));
    this.#handle.applyChanges(fresh.map(([, bytes]) => bytes));
    for (const [name] of fresh) this.#known.add(name);
    const missing = this.#handle.getMissingDeps([]);
    if (missing.length > 0) throw new Error(`changes missing: ${missing.join(" ")}`);
  }

  get known() {
    return this.#known;
  }

  /** The registers; `rankOf` gives the rank of a change hash. */
  registers(rankOf) {
    const handle = this.#handle;
    const made = authorship(handle);
    const winner = (object, key) => {
      const values = handle.getAll(object, key).filter(([type]) => type === "str");
      if (values.length < 2) return values[0]?.[1] ?? null;
      const ranked = values.map(([, text, id]) => ({ text, rank: rankOf(made(id)) }));
      return ranked.sort((a, b) => compareList(a.rank, b.rank)).at(-1).text;
    };
    const front = new Map();
    const map = at(handle, "front");
    for (const key of handle.keys(map)) {
      const text = winner(map, key);
      if (text !== null) front.set(key, text);
    }
    return {
      open: winner(ROOT, "open"),
      close: winner(ROOT, "close"),
      front,
      order: elements(handle, at(handle, "order")).map(([text]) => text),
      items: once(elements(handle, at(handle, "items")), made),
      body: handle.text(at(handle, "body")),
    };
  }

  render(rankOf) {
    return render(this.registers(rankOf));
  }
}

function elements(handle, list) {
  const found = [];
  for (let i = 0; i < handle.length(list); i++) {
    const [type, text, id] = handle.getAll(list, i).at(-1);
    if (type === "str") found.push([text, id]);
  }
  return found;
}

/** Items as [name, item], without those that stand earlier by another change. */
function once(found, made) {
  const seen = new Map();
  const kept = [];
  for (const [text, id] of found) {
    if (seen.has(text) && seen.get(text) !== made(id)) continue;
    if (!seen.has(text)) seen.set(text, made(id));
    const cut = text.indexOf("\0");
    kept.push([text.slice(0, cut), text.slice(cut + 1)]);
  }
  return kept;
}

/** The hash of the change that made an operation id `COUNT@ACTOR`. */
function authorship(handle) {
  let changes = null;
  return (id) => {
    changes ??= handle.getChangesMeta([]);
    const [count, actor] = id.split("@");
    const found = changes.find(
      (one) => one.actor === actor && one.startOp <= Number(count) && Number(count) <= one.maxOp,
    );
    if (!found) throw new Error(`no change made ${id}`);
    return found.hash;
  };
}

/** The hash of a change chunk. */
export const changeHash = (bytes) => Automerge.decodeChange(bytes).hash;
