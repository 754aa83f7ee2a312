// Paths: folding, document ids, and which document stands where.

import { H, compare } from "./hash.mjs";

const foldPart = (part) => Array.from(part.normalize("NFC"), (char) => char.toLowerCase()).join("").normalize("NFC");

const folded = new Map();

/** A path as it is compared. */
export function fold(path) {
  if (!folded.has(path)) folded.set(path, path.split("/").map(foldPart).join("/"));
  return folded.get(path);
}

export const documentId = (vault, path, after) => H("aios-doc-v1\n", vault, "\n", fold(path), "\n", after);

/** A path after a folder was moved; null when it does not lie below it. */
export function moved(path, from, to) {
  const parts = path.split("/");
  const above = from.split("/");
  if (parts.length <= above.length) return null;
  if (fold(parts.slice(0, above.length).join("/")) !== fold(from)) return null;
  return [to, ...parts.slice(above.length)].join("/");
}

function suffixed(path, tag) {
  const cut = path.lastIndexOf("/") + 1;
  const name = path.slice(cut);
  const dot = name.lastIndexOf(".");
  const end = dot > 0 ? dot : name.length;
  return `${path.slice(0, cut)}${name.slice(0, end)}-${tag}${name.slice(end)}`;
}

/** The path of each document, from a Map of document id to claimed path. */
export function settle(claims) {
  const holders = new Map();
  const folders = new Set();
  for (const [doc, claim] of claims) {
    const folded = fold(claim);
    const first = holders.get(folded);
    if (first === undefined || compare(doc, first) < 0) holders.set(folded, doc);
    for (let at = folded.lastIndexOf("/"); at >= 0; at = folded.lastIndexOf("/", at - 1)) {
      const folder = folded.slice(0, at);
      if (folders.has(folder)) break;
      folders.add(folder);
      if (at === 0) break;
    }
  }
  const paths = new Map();
  for (const [doc, claim] of claims) {
    const folded = fold(claim);
    let path = claim;
    if (folders.has(folded) || holders.get(folded) !== doc) {
      for (const length of [6, 12, 24, 64]) {
        path = suffixed(claim, doc.slice(0, length));
        if (!holders.has(fold(path))) break;
      }
    }
    paths.set(doc, path);
  }
  return paths;
}
