// What the records did: transactions, their items, and what each item has seen.

import { compareList } from "./hash.mjs";
import { place, stamp } from "./record.mjs";
import { has, viewOf } from "./view.mjs";

const CHANGES = new Set(["create", "edit", "replace", "move", "movedir", "mode", "delete", "history", "commit", "seal"]);

/** Whether an item is one this reader must not project past. */
export const needsUpgrade = (item) => !CHANGES.has(item.t) && item.t !== "event" && item.opt !== true;

/** Whether an item has its document forgotten. */
export const forgets = (item) => item.t === "event" && item.type === "document.forgotten";

/** Whether a transaction with this item has a commit. */
export const commits = (item) => CHANGES.has(item.t) || forgets(item);

/** The transactions that took effect, each with its `items` in order. The `record` of an item ends its own. */
export function transactions(records) {
  const open = new Map();
  const done = [];
  for (const record of records) {
    const parts = open.get(record.device) ?? [];
    if (record.content.abort) {
      open.delete(record.device);
      continue;
    }
    parts.push(record);
    if (record.content.more) {
      open.set(record.device, parts);
      continue;
    }
    open.delete(record.device);
    const items = parts.flatMap((part) => part.items).filter((item) => commits(item) || item.t === "event");
    done.push({ last: record, items: items.map((item) => ({ ...item, record })) });
  }
  let index = 0;
  for (const transaction of done) {
    transaction.items.forEach((item, position) => {
      item.transaction = transaction;
      item.position = position;
      item.index = index++;
      item.rank = item.rank ?? stamp(item.record);
      item.base = item.base ? viewOf(item.base) : null;
    });
  }
  return done;
}

/** Whether an item takes effect in a view. */
export const effective = (view, item) => has(view, item.record);

/** Whether item `one` has seen item `other`. */
export function sees(one, other) {
  if (one.base) return effective(one.base, other);
  if (one.transaction === other.transaction) return other.position < one.position;
  return effective(one.record.past, other);
}

/** The place that names the epoch of a `replace`. */
export const epochOf = (item) => place(item.record);

/** What the author of an item had seen, as a view. */
export const seenView = (item) => item.base ?? item.record.past;

/** The items of a list that no other of it has seen. */
export const uncovered = (items) =>
  items.length === 1 ? items : items.filter((item) => !items.findLast((other) => other !== item && sees(other, item)));

/** Orders items by rank; of equal ranks by place and position. */
export const byRank = (a, b) =>
  compareList(a.rank, b.rank) ||
  compareList([a.record.device, a.record.seq, a.position], [b.record.device, b.record.seq, b.position]);
