// Markdown files in parts: frontmatter entries and body, and back.

import { parseDocument, isMap, isScalar } from "yaml";
import { compareText } from "./hash.mjs";
import { lines } from "./align.mjs";

const NUL = "\0";
const KEY_LINE = /^[^ \t#\-[\]{},&*!|>%@`?:\r\n][^\r\n]*?:(?=[ \t\r\n]|$)|^[^ \t#\-[\]{},&*!|>%@`?:\r\n]:(?=[ \t\r\n]|$)/;
const BLANK = /^[ \t]*\r?\n?$/;

const bare = (line) => line.replace(/\r?\n$/, "");

/** The parts of a file: `open`, `close` (null without frontmatter), `entries`, `body`. */
export function split(text, kind = "md") {
  const plain = { open: null, close: null, entries: [], body: text };
  if (kind !== "md") return plain;
  const all = lines(text);
  const bom = text.startsWith("\uFEFF") ? "\uFEFF" : "";
  if (all.length === 0 || !/^---\r?\n$/.test(all[0].slice(bom.length))) return plain;
  const fence = all.findIndex((line, i) => i > 0 && /^(---|\.\.\.)(\r?\n)?$/.test(line));
  if (fence < 0) return plain;

  const between = all.slice(1, fence);
  const { groups, rest } = group(between);
  if (!agrees(between.join(""), groups)) return plain;
  return {
    open: all[0],
    close: rest.join("") + all[fence],
    entries: groups.map(({ name, lead, own }) => ({ name, ...value(lead, own) })),
    body: all.slice(fence + 1).join(""),
  };
}

/** Whether a text has frontmatter. */
export const hasFront = (text) => split(text).open !== null;

function keyName(line) {
  const found = KEY_LINE.exec(line);
  if (!found) return null;
  const name = found[0].slice(0, -1).trim();
  const quoted = /^"([^"]*)"$|^'([^']*)'$/.exec(name);
  return quoted ? (quoted[1] ?? quoted[2]) : name;
}

function group(between) {
  const groups = [];
  let loose = [];
  for (const line of between) {
    const name = keyName(line);
    if (name !== null) {
      groups.push({ name, lead: loose, own: [line] });
      loose = [];
    } else if (groups.length === 0 || BLANK.test(line) || line.startsWith("#")) {
      loose.push(line);
    } else {
      groups.at(-1).own.push(...loose, line);
      loose = [];
    }
  }
  return { groups, rest: loose };
}

/** Whether the YAML is a mapping with exactly the names found. */
function agrees(text, groups) {
  const names = groups.map((entry) => entry.name);
  if (new Set(names).size !== names.length) return false;
  let document;
  try {
    document = parseDocument(text, { logLevel: "silent", strict: true });
    document.toJS();
  } catch {
    return false;
  }
  if (document.errors.length > 0) return false;
  if (document.contents === null || (isScalar(document.contents) && !document.contents.source)) {
    return names.length === 0;
  }
  if (!isMap(document.contents)) return false;
  const keys = document.contents.items.map(({ key }) =>
    isScalar(key) ? (typeof key.value === "string" ? key.value : key.source) : null,
  );
  return keys.length === names.length && keys.every((key, i) => key === names[i]);
}

/** The value of an entry: its register text and its items. */
function value(lead, own) {
  const raw = lead.join("") + own.join("");
  const list = flowList(lead, own) ?? blockList(lead, own);
  if (!list) return { value: `=${raw}`, items: [] };
  const [head, items, sep, tail] = list;
  return { value: `[${head}${NUL}${sep}${NUL}${tail}`, items };
}

function flowList(lead, own) {
  if (own.length !== 1) return null;
  const key = KEY_LINE.exec(own[0])[0];
  const found = /^([ \t]*\[ *)([^[\]{}"'#\\\r\n]*?)( *\] *(?:#[^\r\n]*)?(?:\r?\n)?)$/.exec(
    own[0].slice(key.length),
  );
  if (!found) return null;
  const [, open, inner, close] = found;
  const head = lead.join("") + key + open;
  const items = inner === "" ? [] : inner.split(",").map((item) => item.trim());
  if (items.some((item) => item === "")) return null;
  const sep = items.length < 2 ? ", " : /,( *)/.exec(inner)[0];
  return items.join(sep) === inner ? [head, items, sep, close] : null;
}

function blockList(lead, own) {
  const key = KEY_LINE.exec(own[0])[0];
  if (own.length < 2 || !/^ *(\r?\n)?$/.test(own[0].slice(key.length))) return null;
  const items = [];
  let indent = null;
  for (const line of own.slice(1)) {
    const depth = /^ */.exec(line)[0].length;
    const starts = /^ *- +[^ \r\n]/.test(line);
    if (starts && (indent === null || depth === indent)) {
      indent = depth;
      items.push(line);
    } else if (indent !== null && depth > indent && bare(line).trim() !== "") {
      items[items.length - 1] += line;
    } else {
      return null;
    }
  }
  return [lead.join("") + own[0], items, "", ""];
}

/** The text of one entry. */
function entryText(register, items) {
  if (register.startsWith("=")) return register.slice(1);
  const [head, sep = "", tail = ""] = register.slice(1).split(NUL);
  return head + items.join(sep) + tail;
}

/** Renders registers: `front` is a map, `items` a list of [name, item]. */
export function render({ open, close, front, order, items, body }) {
  const ranked = [...new Set(order)].filter((name) => front.has(name));
  const others = [...front.keys()].filter((name) => !ranked.includes(name)).sort(compareText);
  let text = open ?? "";
  for (const name of [...ranked, ...others]) {
    const own = items.filter(([of]) => of === name).map(([, item]) => item);
    text += entryText(front.get(name), own);
  }
  return text + (close ?? "") + body;
}
