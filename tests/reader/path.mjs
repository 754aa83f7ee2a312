// Paths: folding, document ids, and which document stands where.

import { H, compare } from "./hash.mjs";

const foldPart = (part) => part.normalize("NFC").toLowerCase().normalize("NFC");

/** A path as it is compared. */
export const fold = (path) => path.split("/").map(foldPart).join("/");

export const documentId = (vault, path, after) => H("aios-doc-v1\n", vault, "\n", fold(path), "\n", after);

/** A path after a folder was moved; unchanged when it does not lie below it. */
export function moved(path, from, to) {
  const parts = path.split("/");
  const above = from.split("/");
  if (parts.length <= above.length) return path;
  if (fold(parts.slice(0, above.length).join("/")) !== fold(from)) return path;
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
    holders.set(folded, [...(holders.get(folded) ?? []), doc].sort(compare));
    for (let at = folded.indexOf("/"); at >= 0; at = folded.indexOf("/", at + 1)) folders.add(folded.slice(0, at));
  }
  const paths = new Map();
  for (const [doc, claim] of claims) {
    const folded = fold(claim);
    let path = claim;
    if (folders.has(folded) || holders.get(folded)[0] !== doc) {
      for (const length of [6, 12, 24, 64]) {
        path = suffixed(claim, doc.slice(0, length));
        if (!holders.has(fold(path))) break;
      }
    }
    paths.set(doc, path);
  }
  return paths;
}
