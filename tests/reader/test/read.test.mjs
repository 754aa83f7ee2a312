import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { bytesOf, H } from "../hash.mjs";
import { blobId, commitId, mergeMessage, treeId } from "../git.mjs";
import { documentId } from "../path.mjs";
import { read } from "../read.mjs";
import { changed, added, created, describe, Device, edit } from "./writer.mjs";

function vault(body) {
  const directory = mkdtempSync(join(tmpdir(), "reader-"));
  try {
    return body(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const create = (id, path, text, kind = "md") => ({
  t: "create", doc: documentId(id, path, ""), path, after: "", kind, mode: "100644", ...describe(text),
});

/** Two devices that edit one note at once. */
function two(directory, { kind = "md", text = "---\nt: x\n---\none\ntwo\nthree\n" } = {}) {
  const one = new Device(directory, "one");
  one.write(1000, [created("operator")], { onto: null });
  const note = create(one.vault, "notes/a.md", text, kind);
  one.write(2000, [note], { payloads: [text], onto: null });
  const other = new Device(directory, "two", one.vault);
  const both = one.write(3000, [added(one.vault, other.id, "operator", `${one.id}:${one.seq + 1}`)]);
  return { one, other, both, note, text };
}

test("a vault of one device", () => {
  vault((directory) => {
    const { one, note, text } = two(directory);
    const result = read(directory);
    assert.deepEqual(result.findings, []);
    assert.deepEqual(result.files, { "notes/a.md": H(text) });
    const tree = treeId(new Map([["notes/a.md", { mode: "100644", git: note.git }]]));
    const id = JSON.parse(
      readFileSync(join(one.folder, "0000000001.log"), "utf8").split("\n").filter((line) => line.startsWith("{"))[4],
    ).prev;
    const message = `at 2000\n\nAios-Record: ${id}\nAios-Device: ${one.id}\nAios-Actor: operator\n`;
    assert.equal(result.head, commitId({ tree, parents: [], author: { name: "A b", email: "a@b" }, time: 2, message }));
    assert.equal(result.commits, 1);
    assert.equal(result.records, 3);
  });
});

test("concurrent edits of one document merge as Automerge", () => {
  vault((directory) => {
    const { one, other, both, note, text } = two(directory);
    one.write(4000, [edit(note.doc, "md", text, 0, 3, "ONE")]);
    other.write(4001, [edit(note.doc, "md", text, 8, 5, "drei 😀")], { deps: [both] });
    const result = read(directory);
    assert.deepEqual(result.findings, []);
    assert.deepEqual(result.files, { "notes/a.md": H("---\nt: x\n---\nONE\ntwo\ndrei 😀\n") });
    assert.equal(result.commits, 4);
  });
});

test("edits without a change merge by lines", () => {
  vault((directory) => {
    const { one, other, both, note, text } = two(directory, { kind: "lines", text: "a\nb\nc\nd\n" });
    const plain = (...all) => changed(edit(note.doc, "text", text, ...all), null);
    one.write(4000, [plain(0, 1, "A")]);
    other.write(4001, [plain(6, 1, "D")], { deps: [both] });
    const result = read(directory);
    assert.deepEqual(result.findings, []);
    assert.deepEqual(result.files, { "notes/a.md": H("A\nb\nc\nD\n") });
  });
});

test("one path made on two devices is one document; other paths and moves", () => {
  vault((directory) => {
    const { one, other, both } = two(directory);
    const left = create(one.vault, "New.md", "same\nleft\n", "text");
    const right = create(one.vault, "new.md", "same\nright\n", "text");
    assert.equal(left.doc, right.doc);
    const a = one.write(4000, [left, { t: "movedir", from: "notes", to: "old" }], { payloads: ["same\nleft\n"] });
    other.write(4001, [right, create(one.vault, "notes/b.bin", "bin", "blob")], { deps: [both], payloads: ["same\nright\n"] });
    one.write(5000, [{ t: "mode", doc: left.doc, mode: "100755" }]);
    const result = read(directory);
    assert.deepEqual(result.findings, []);
    assert.deepEqual(Object.keys(result.files), ["new.md", "old/a.md", "old/b.bin"]);
    const [x, y] = [left, right].map(({ hash }) => hash).sort();
    assert.ok(x < y && a);
    const merged = ["left\nsame\nright\n", "same\nleft\nright\n", "right\nsame\nleft\n", "same\nright\nleft\n"].map((t) => H(t));
    assert.ok(merged.includes(result.files["new.md"]));
  });
});

test("a folder renamed on two devices has the later name", () => {
  vault((directory) => {
    const { one, other, both } = two(directory);
    const made = create(one.vault, "x/b.bin", "b", "blob");
    one.write(4000, [{ t: "movedir", from: "notes", to: "x" }, made]);
    const again = { ...create(one.vault, "notes/a.md", "again", "text"), after: `${one.id}:${one.seq}` };
    again.doc = documentId(one.vault, again.path, again.after);
    one.write(4100, [again], { payloads: ["again"] });
    other.write(4200, [{ t: "movedir", from: "Notes", to: "y" }], { deps: [both] });
    const result = read(directory);
    assert.deepEqual(result.findings, []);
    assert.deepEqual(Object.keys(result.files).sort(), ["notes/a.md", "y/a.md", "y/b.bin"]);
  });
});

test("of folders that change places one renamed meanwhile goes alone", () => {
  vault((directory) => {
    const { one, other, both } = two(directory);
    const movedir = (from, to) => ({ t: "movedir", from, to });
    one.write(4000, [movedir("notes", "t"), movedir("more", "notes"), movedir("t", "more")]);
    const more = create(one.vault, "more/c.bin", "c", "blob");
    other.write(4200, [more, movedir("notes", "y")], { deps: [both] });
    const result = read(directory);
    assert.deepEqual(result.findings, []);
    assert.deepEqual(Object.keys(result.files).sort(), ["notes/c.bin", "y/a.md"]);
  });
});

test("what is wrong is found", () => {
  const changes = {
    upgrade: ({ one }) => one.write(4000, [{ t: "teleport", doc: "x" }]),
    onto: ({ one }) => one.write(4000, [], { onto: "0".repeat(40) }),
    clock: ({ one }) => one.write(1, []),
    closure: ({ one }) => one.write(4000, [], { deps: ["0".repeat(64)] }),
    member: ({ other }) => other.write(4000, []),
    item: ({ one, note, text }) => one.write(4000, [{ ...edit(note.doc, "md", text, 0, 3, "ONE"), git: "0".repeat(40) }]),
    render: ({ one, note, text }) =>
      one.write(4000, [changed(edit(note.doc, "md", text, 0, 3, "ONE"), edit(note.doc, "md", text, 0, 3, "TWO"))]),
    document: ({ one }) => one.write(4000, [{ ...create(one.vault, "z.md", ""), path: "y.md" }], { payloads: [""] }),
    log: ({ one }) => {
      const file = join(one.folder, "0000000001.log");
      const bytes = readFileSync(file);
      bytes[400] ^= 1;
      writeFileSync(file, bytes);
    },
  };
  for (const [check, change] of Object.entries(changes)) {
    vault((directory) => {
      change(two(directory));
      const checks = read(directory, { deep: true }).findings.map((finding) => finding.check);
      assert.ok(checks.includes(check), `${check}: ${checks}`);
    });
  }
});

test("an entry that is cut off at the end is no damage", () => {
  vault((directory) => {
    const { one } = two(directory);
    appendFileSync(join(one.folder, "0000000001.log"), "R 10 10 0 abc");
    const result = read(directory);
    assert.deepEqual(result.findings, []);
    assert.equal(result.records, 3);
  });
});

test("parts of a transaction take effect with the last, or never", () => {
  vault((directory) => {
    const { one } = two(directory);
    one.write(4000, [create(one.vault, "p.txt", "p", "text")], { payloads: ["p"], more: true });
    assert.deepEqual(Object.keys(read(directory).files), ["notes/a.md"]);
    one.write(4001, [], { abort: true });
    one.write(4002, [create(one.vault, "q.txt", "q", "text")], { payloads: ["q"], more: true });
    one.write(4003, []);
    const result = read(directory);
    assert.deepEqual(result.findings, []);
    assert.deepEqual(Object.keys(result.files), ["notes/a.md", "q.txt"]);
    assert.equal(result.commits, 2);
  });
});

test("an unknown item that is optional is passed over; another stops the projection", () => {
  vault((directory) => {
    const { one } = two(directory);
    one.write(4000, [{ t: "hint", opt: true, doc: "x" }]);
    const known = read(directory);
    assert.deepEqual(known.findings, []);
    assert.equal(known.commits, 1);
    assert.deepEqual(Object.keys(known.files), ["notes/a.md"]);
    const id = one.write(5000, [{ t: "hint", doc: "x" }]);
    const { findings, head, files, records } = read(directory);
    assert.deepEqual(findings, [{ check: "upgrade", where: id, what: "upgrade needed: item hint" }]);
    assert.deepEqual([head, files, records], [null, {}, 5]);
  });
});

test("a stale save merges from what it had seen, also by lines", () => {
  vault((directory) => {
    const { one, note, text } = two(directory, { kind: "lines", text: "a\nb\nc\nd\n" });
    const plain = (...all) => changed(edit(note.doc, "text", text, ...all), null);
    one.write(4000, [plain(0, 1, "A")]);
    one.write(5000, [{ ...plain(6, 1, "D"), base: { [one.id]: 2 }, rank: [2000, 0, one.id, 2] }]);
    const result = read(directory);
    assert.deepEqual(result.findings, []);
    assert.deepEqual(result.files, { "notes/a.md": H("A\nb\nc\nD\n") });
  });
});

test("a file from before the vault was joined merges with the one at its path", () => {
  vault((directory) => {
    const { one, other, both, text } = two(directory, { text: "same\nmine\n" });
    const own = "same\nyours\n";
    other.write(5000, [{ ...create(one.vault, "notes/a.md", own), base: {}, rank: [1, 0, other.id, 1] }], { deps: [both], payloads: [own] });
    const result = read(directory, { deep: true });
    assert.deepEqual(result.findings, []);
    const merged = ["same\nmine\nyours\n", "mine\nsame\nyours\n", "yours\nsame\nmine\n", "same\nyours\nmine\n"].map((t) => H(t));
    assert.ok(merged.includes(result.files["notes/a.md"]) && text);
  });
});

test("ten thousand files take seconds", () => {
  vault((directory) => {
    const one = new Device(directory, "one");
    one.write(1000, [created("operator")]);
    const texts = Array.from({ length: 10000 }, (_, i) => `---\nn: ${i}\n---\nNote ${i}\n`);
    for (let at = 0; at < 10000; at += 1000) {
      const payloads = texts.slice(at, at + 1000);
      const items = payloads.map((text, i) => create(one.vault, `f${i % 40}/n${at + i}.md`, text));
      one.write(2000 + at, items, { payloads, more: at < 9000 });
    }
    for (let i = 0; i < 10; i++) {
      const name = `f${i}/n${i}.md`;
      one.write(20000 + i, [edit(documentId(one.vault, name, ""), "md", texts[i], 0, 4, "Text")]);
    }
    const start = performance.now();
    const result = read(directory);
    assert.deepEqual(result.findings, []);
    assert.equal(result.documents, 10000);
    assert.ok(performance.now() - start < 60000);
  });
});
