// The git objects a set of documents and records has.

import { bytesOf, compareText, gitId, unhex } from "./hash.mjs";

export const blobId = (bytes) => gitId("blob", bytes);

/** The tree id of a Map from path to { mode, git }. */
export function treeId(files) {
  const folders = new Map();
  const entries = [];
  for (const [path, file] of files) {
    const cut = path.indexOf("/");
    if (cut < 0) {
      entries.push({ name: path, key: path, mode: file.mode, id: file.git });
      continue;
    }
    const name = path.slice(0, cut);
    if (!folders.has(name)) folders.set(name, new Map());
    folders.get(name).set(path.slice(cut + 1), file);
  }
  for (const [name, inner] of folders) entries.push({ name, key: `${name}/`, mode: "40000", id: treeId(inner) });
  entries.sort((a, b) => compareText(a.key, b.key));
  const parts = entries.flatMap(({ mode, name, id }) => [bytesOf(`${mode} ${name}\0`), unhex(id)]);
  return gitId("tree", Buffer.concat(parts));
}

const clean = (text) => trimEnd((text ?? "").replace(/[<>\p{Cc}]/gu, "").replace(/^\p{White_Space}+/u, ""));

function trimEnd(text) {
  let end = text.length;
  while (end > 0 && /\p{White_Space}/u.test(text[end - 1])) end--;
  return text.slice(0, end);
}

const oneLine = (text) => text.replace(/\p{Cc}/gu, " ");

/** The id of a commit. */
export function commitId({ tree, parents, author, time, message }) {
  const who = `${clean(author.name) || "aios"} <${clean(author.email)}> ${time} +0000`;
  const lines = [`tree ${tree}`, ...parents.map((id) => `parent ${id}`), `author ${who}`, `committer ${who}`];
  return gitId("commit", bytesOf(`${lines.join("\n")}\n\n${message}`));
}

export function recordMessage({ id, device, actor, content }) {
  const trailers = [
    ["Aios-Record", id],
    ["Aios-Device", device],
    ["Aios-Actor", actor],
    ["Aios-Task", content.task],
    ["Aios-Run", content.run],
    ["Aios-Approved-By", content.approved_by],
  ].filter(([, text]) => text !== undefined && text !== null);
  const text = trimEnd(content.message ?? "") || "Change";
  return `${text}\n\n${trailers.map(([name, value]) => `${name}: ${oneLine(value)}\n`).join("")}`;
}

export const mergeMessage = (ids) =>
  `Merge ${ids.length} lines of work\n\n${[...ids].sort().map((id) => `Aios-Merge: ${id}\n`).join("")}`;

/** The tree and parents of a raw commit, and its id. */
export function readCommit(base64) {
  const raw = Buffer.from(base64, "base64");
  const head = raw.toString("latin1").split("\n\n")[0].split("\n");
  const all = (name) => head.filter((line) => line.startsWith(`${name} `)).map((line) => line.slice(name.length + 1));
  return { id: gitId("commit", raw), tree: all("tree")[0], parents: all("parent") };
}
