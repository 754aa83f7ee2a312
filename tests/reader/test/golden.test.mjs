import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { align, lineMerge, lines } from "../align.mjs";
import { render, split } from "../markdown.mjs";
import { fold, moved, settle } from "../path.mjs";
import { compute, reading } from "./derived.mjs";

const golden = JSON.parse(readFileSync(new URL("golden.json", import.meta.url)));

for (const one of golden.derived) {
  test(`derived changes: ${one.name}`, () => {
    const contents = one.contents.map(({ text }) => text);
    assert.deepEqual(compute({ ...one, contents }), one);
  });
}

for (const one of golden.readings) {
  test(`reading: ${one.name}`, () => {
    assert.deepEqual(reading(one), { text: one.rendered, front: one.front_conflict });
  });
}

for (const { text, ...parts } of golden.markdown) {
  test(`markdown: ${JSON.stringify(text)}`, () => {
    assert.deepEqual(split(text), parts);
    const front = new Map(parts.entries.map(({ name, value }) => [name, value]));
    const items = parts.entries.flatMap((entry) => entry.items.map((item) => [entry.name, item]));
    assert.equal(render({ ...parts, front, order: [...front.keys()], items }), text);
  });
}

test("alignment", () => {
  for (const { a, b, pairs } of golden.align) assert.deepEqual(align(lines(a), lines(b)), pairs);
});

test("line merge", () => {
  for (const { base, left, right, merged } of golden.merge) assert.equal(lineMerge(base, left, right), merged);
});

test("folding", () => {
  for (const { path, folded } of golden.fold) assert.equal(fold(path), folded);
});

test("paths", () => {
  for (const { claims, paths } of golden.paths) {
    assert.deepEqual(Object.fromEntries(settle(new Map(Object.entries(claims)))), paths);
  }
  assert.equal(moved("Notes/Sub/a.md", "notes", "x/y"), "x/y/Sub/a.md");
  assert.equal(moved("notes.md", "notes", "x"), null);
  assert.equal(moved("notes", "notes", "x"), null);
});
