// The derived changes of a golden case, as this reader makes them.

import { content, Document, join, matchedRuns, skeleton } from "../document.mjs";
import { compare, H } from "../hash.mjs";
import { split } from "../markdown.mjs";
import { documentId } from "../path.mjs";

export function compute({ name, vault, path, after, epoch, kind, contents }) {
  const doc = documentId(vault, path, after);
  const base = skeleton(doc, epoch);
  const made = contents.map((text) => content(doc, epoch, base, text, kind));
  const changes = [[base.hash, base.bytes], ...made.map((one) => [one.hash, one.bytes])];
  const joins = [];
  const byHash = made.map((one) => ({ ...one, id: H(one.text) })).sort((a, b) => compare(a.id, b.id));
  for (let i = 0; i < byHash.length; i++) {
    for (let j = i + 1; j < byHash.length; j++) {
      const change = join(doc, base, byHash[i], byHash[j]);
      if (change) changes.push([change.hash, change.bytes]);
      joins.push({
        x: byHash[i].id,
        y: byHash[j].id,
        removed: change ? matchedRuns(byHash[i].body, byHash[j].body) : [],
        actor: change?.actor ?? null,
        change: change?.hash ?? null,
      });
    }
  }
  const document = new Document();
  document.add(changes);
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
    rendered: document.render((hash) => rank.get(hash) ?? [-1]),
  };
}
