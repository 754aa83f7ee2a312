// What Automerge itself makes of the documents of an export: node exported.mjs EXPORT_DIR
//
// Only the library's own `load` is asked, as any program would that knows the shape of the documents and nothing of
// vaults. One JSON object on stdout: path to `{ text, front, items }`, of the documents there are.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import * as Automerge from "@automerge/automerge";
import { turn } from "./ends.mjs";
import { fences, render } from "./markdown.mjs";

/** A scalar string; a text object would be another type. */
function scalar(value) {
  if (!Automerge.isImmutableString(value)) throw new Error(`not a scalar string: ${value}`);
  return value.toString();
}

/** The text a document stands for, every value of each of its keys, and the items of its lists. */
function describe(doc) {
  const field = (name) => (name in doc ? scalar(doc[name]) : null);
  const order = doc.order.map(scalar);
  const items = doc.items.map((item) => scalar(item).split("\0"));
  const front = new Map(Object.entries(doc.front).map(([name, value]) => [name, scalar(value)]));
  // In a list of concurrent values the library makes every string a plain one.
  const values = (name) => Object.values(Automerge.getConflicts(doc.front, name) ?? { only: doc.front[name] });
  const text = render({ ...fences(field, front), front, order, items, body: doc.body });
  return {
    text: turn(field("ends"), text),
    front: Object.fromEntries([...front.keys()].map((name) => [name, values(name).map(String).sort()])),
    items: Object.fromEntries(order.map((name) => [name, items.filter(([of]) => of === name).map(([, item]) => item)])),
  };
}

const directory = process.argv[2];
const there = new Set(readdirSync(join(directory, "documents")));
const out = {};
for (const { path, doc } of JSON.parse(readFileSync(join(directory, "manifest.json"), "utf8")).files) {
  const name = `${doc}.automerge`;
  if (there.delete(name)) out[path] = describe(Automerge.load(readFileSync(join(directory, "documents", name))));
}
if (there.size > 0) throw new Error(`documents of no file: ${[...there].join(" ")}`);
console.log(JSON.stringify(out));
