// The derived changes of a golden case, as this reader makes them.

import { changeHash, content, Document, join, skeleton } from "../document.mjs";
import { compare, H } from "../hash.mjs";
import { split } from "../markdown.mjs";
import { documentId } from "../path.mjs";

export function compute({ name, vault, path, after, epoch, kind, contents }) {
  const doc = documentId(vault, path, after);
  const base = skeleton(doc, epoch);
  const made = contents.map((text) => content(doc, epoch, base, text, kind));
  const joined = [];
  const joins = [];
  const byHash = made.map((one) => ({ ...one, id: H(one.text) })).sort((a, b) => compare(a.id, b.id));
  for (let i = 0; i < byHash.length; i++) {
    for (let j = i + 1; j < byHash.length; j++) {
      const change = join(doc, base, byHash[i], byHash[j]);
      if (change) joined.push(change);
      joins.push({
        x: byHash[i].id,
        y: byHash[j].id,
        removed: change?.removed ?? [],
        actor: change?.actor ?? null,
        change: change?.hash ?? null,
      });
    }
  }
  const document = new Document(base, kind);
  document.add([...made, ...joined]);
  const rank = new Map(made.map((one, i) => [one.hash, [i]]));
  return {
    name,
    vault,
    path,
    after,
    epoch,
    kind,
    doc,
    skeleton: { actor: base.actor, change: base.hash },
    contents: made.map((one) => {
      const parts = split(one.text, kind);
      return { text: one.text, hash: H(one.text), parts, actor: one.actor, change: one.hash };
    }),
    joins,
    rendered: document.read(made.map(({ hash }) => hash), (hash) => rank.get(hash) ?? []).text,
  };
}

/** What a golden reading reads as. */
export function reading({ vault, path, after, epoch, kind, contents, edits, heads }) {
  const doc = documentId(vault, path, after);
  const base = skeleton(doc, epoch);
  const made = contents.map((text) => content(doc, epoch, base, text, kind));
  const joined = made.flatMap((one, i) => made.slice(i + 1).map((other) => join(doc, base, one, other)));
  const later = edits.map(({ change }) => {
    const bytes = Buffer.from(change, "base64");
    return { hash: changeHash(bytes), bytes };
  });
  const document = new Document(base, kind);
  const changes = [...made, ...later];
  document.add([...changes, ...joined.filter((one) => one)]);
  const rank = new Map(later.map(({ hash }, i) => [hash, [edits[i].rank]]));
  return document.read(heads.map((at) => changes[at].hash), (hash) => rank.get(hash) ?? []);
}
