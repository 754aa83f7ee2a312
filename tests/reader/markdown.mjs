// Markdown files in parts: frontmatter entries and body, and back. Lines alone decide.

import { compareText } from "./hash.mjs";
import { lines } from "./align.mjs";

const NUL = "\0";
const FENCE = /^(---|\.\.\.)(\r?\n)?$/;
const KEY_LINE = /^(?![ \t#\-[\]{},&*!|>%@`?:])([^\r\n]*?)[ \t]*:(?=[ \t\r\n]|$)/;
const BLANK = /^[ \t]*\r?\n?$/;

/** The parts of a file: `open`, `close` (null without frontmatter), `entries`, `body`. */
export function split(text, kind = "md") {
  const plain = { open: null, close: null, entries: [], body: text };
  if (kind !== "md") return plain;
  const bom = text.startsWith("\uFEFF") ? 1 : 0;
  if (!text.startsWith("---", bom)) return plain;
  const all = lines(text);
  if (!/^---\r?\n$/.test(all[0].slice(bom))) return plain;
  const fence = all.findIndex((line, i) => i > 0 && FENCE.test(line));
  if (fence < 0) return plain;
  const between = all.slice(1, fence);
  if (between.some((line) => /\0|\r(?!\n)/.test(line))) return plain;
  const grouped = group(between);
  if (!grouped) return plain;
  return {
    open: all[0],
    close: grouped.rest.join("") + all[fence],
    entries: grouped.entries.map(({ name, lead, own }) => ({ name, ...value(lead, own) })),
    body: all.slice(fence + 1).join(""),
  };
}

/** Whether a text has frontmatter. */
export const hasFront = (text) => split(text).open !== null;

function keyName(line) {
  const found = KEY_LINE.exec(line);
  if (!found) return null;
  const quoted = /^(["'])(.*)\1$/su.exec(found[1]);
  return quoted ? quoted[2] : found[1];
}

/** The lines between the fences as entries and what follows the last; null when they are no frontmatter. */
function group(between) {
  const entries = [];
  const names = new Set();
  let loose = [];
  for (const line of between) {
    const name = keyName(line);
    if (name !== null) {
      if (name === "" || names.has(name)) return null;
      names.add(name);
      entries.push({ name, lead: loose, own: [line] });
      loose = [];
    } else if (BLANK.test(line) || line.startsWith("#")) {
      loose.push(line);
    } else if (entries.length > 0 && /^[ \t-]/.test(line)) {
      entries.at(-1).own.push(...loose, line);
      loose = [];
    } else {
      return null;
    }
  }
  return { entries, rest: loose };
}

/** The value of an entry: its register text and its items. */
function value(lead, own) {
  const list = flowList(own) ?? blockList(own);
  if (!list) return { value: `=${lead.join("")}${own.join("")}`, items: [] };
  const [head, items, sep, tail] = list;
  return { value: `[${lead.join("")}${head}${NUL}${sep}${NUL}${tail}`, items };
}

function flowList(own) {
  if (own.length !== 1) return null;
  const key = KEY_LINE.exec(own[0])[0];
  const found = /^([ \t]*\[)([^\][{}"'#\\]*)(\](?:[ \t]*|[ \t]+#[^\r\n]*)(?:\r?\n)?)$/.exec(own[0].slice(key.length));
  if (!found) return null;
  const [, open, inside, close] = found;
  const [, before, inner, after] = /^( *)(.*?)( *)$/s.exec(inside);
  const head = key + open + before;
  if (inner === "") return [head, [], ", ", close];
  const parts = inner.split(",");
  const seps = parts.slice(1).map((part) => /^ */.exec(part)[0]);
  const items = parts.map((part) => part.replace(/^ */, ""));
  if (seps.some((sep) => sep !== seps[0])) return null;
  if (items.some((item) => item === "" || /^[ \t]|[ \t]$/.test(item))) return null;
  return [head, items, `,${seps[0] ?? " "}`, after + close];
}

function blockList(own) {
  const key = KEY_LINE.exec(own[0])[0];
  if (own.length < 2 || !/^ *(\r?\n)?$/.test(own[0].slice(key.length))) return null;
  const items = [];
  let indent = null;
  for (const line of own.slice(1)) {
    const depth = /^ */.exec(line)[0].length;
    const starts = /^ *- [ \t]*[^ \t\r\n]/.test(line);
    if (starts && (indent === null || depth === indent)) {
      indent = depth;
      items.push(line);
    } else if (indent !== null && depth > indent && !BLANK.test(line)) {
      items[items.length - 1] += line;
    } else {
      return null;
    }
  }
  const cores = items.map((item) => item.slice(indent + 2, -1).replaceAll(`\n${" ".repeat(indent)}`, "\n"));
  return [own[0], cores, `${" ".repeat(indent)}- `, ""];
}

const FITS_BRACKETS = /^(?![ \t])[^,[\]{}"'#\\\r\n]+(?<![ \t])$/;

/** The text of a list. In brackets no item can stand that only fits in lines: then it is written by lines. */
function listText(head, sep, tail, items) {
  if (sep.startsWith(",") && !items.every((item) => FITS_BRACKETS.test(item))) {
    const key = /^(.*:)[ \t]*\[ *$/s.exec(head);
    const after = /^ *\](.*)$/s.exec(tail);
    if (key && after) {
      const comment = after[1].trim();
      return byLines(key[1] + (comment && ` ${comment}`) + "\n", "  - ", items);
    }
  }
  return (/^ *- $/.test(sep) ? byLines(head, sep, items) : head + items.join(sep)) + tail;
}

const byLines = (head, sep, items) =>
  head + items.map((item) => `${sep}${item.replaceAll("\n", `\n${sep.slice(0, -2)}`)}\n`).join("");

/** The text of one entry. */
function entryText(register, items) {
  const fields = register.slice(1).split(NUL);
  if (register[0] === "[" && fields.length === 3) return listText(...fields, items);
  return [...register].slice(1).join("");
}

/** The fences: those taken away with all entries stand where an entry outlives that. `get` gives a root register or null. */
export function fences(get, front) {
  const [open, close] = [get("open"), get("close")];
  if (open === null && close === null && front.size > 0) return { open: get("opened"), close: get("closed") };
  return { open, close };
}

/** The frontmatter of registers: `front` is a map, `items` a list of [name, item]. */
export function renderFront({ open, close, front, order, items }) {
  const ranked = [...new Set(order)].filter((name) => front.has(name));
  const known = new Set(ranked);
  const others = [...front.keys()].filter((name) => !known.has(name)).sort(compareText);
  let text = open ?? "";
  for (const name of [...ranked, ...others]) {
    const own = items.filter(([of]) => of === name).map(([, item]) => item);
    text += entryText(front.get(name), own);
  }
  return text + (close ?? "");
}

/** Renders registers to the text of the file. */
export const render = (registers) => renderFront(registers) + registers.body;
