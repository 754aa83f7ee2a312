// Moves of folders: which stand in a view, and where they lead.

import { sees } from "./history.mjs";
import { fold, moved } from "./path.mjs";

/** The `movedir` items that stand, of those in a view in order: each with its rivals, which yield to it. */
export function lasting(items) {
  const rival = (one, other) =>
    one.record !== other.record && fold(one.from) === fold(other.from) && !sees(one, other) && !sees(other, one);
  const end = (item) => {
    const later = items.filter(({ record, position }) => record === item.record && position > item.position);
    return later.reduce((at, { from, to }) => moved(`${at}/_`, from, to)?.slice(0, -2) ?? at, item.to);
  };
  const steps = items.map((item) => {
    const rivals = items.filter((other) => rival(item, other));
    return { item, rivals, ends: new Map(rivals.map((other) => [other, end(other)])) };
  });
  return steps.filter(({ item, rivals }) => !rivals.some((other) => items.indexOf(other) > items.indexOf(item)));
}

/** Where a claim leads by the moves of folders that stand. */
export function led(claim, steps) {
  let path = claim.path;
  let by = claim;
  for (const { item, rivals, ends } of steps) {
    if (sees(claim, item)) continue;
    const known = rivals.filter((rival) => sees(by, rival));
    const folders = known.length > 0 ? known.map((rival) => ends.get(rival)) : [item.from];
    const found = folders.map((folder) => moved(path, folder, item.to)).find((at) => at !== null);
    if (found === undefined) continue;
    path = found;
    by = item;
  }
  return path;
}
