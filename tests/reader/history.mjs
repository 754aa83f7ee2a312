// What the records did: transactions, their items, and what each item has seen.

import { place, stamp } from "./record.mjs";
import { has, viewOf } from "./view.mjs";

const KNOWN = new Set([
  "create", "edit", "replace", "move", "movedir", "mode", "delete", "history", "commit", "event",
]);

/** The transactions that took effect, each with its `items` in order. */
export function transactions(records, found) {
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
    done.push({ last: record, items: parts.flatMap((part) => part.items.map((item) => ({ ...item, record: part }))) });
  }
  let index = 0;
  for (const transaction of done) {
    transaction.items.forEach((item, position) => {
      item.transaction = transaction;
      item.position = position;
      item.index = index++;
      item.rank = item.rank ?? stamp(item.record);
      item.base = item.base ? viewOf(item.base) : null;
      if (!KNOWN.has(item.t) && !item.opt) found("item", item.record.id, `upgrade needed: item ${item.t}`);
    });
  }
  return done;
}

/** Whether an item takes effect in a view. */
export const effective = (view, item) => has(view, item.transaction.last);

/** Whether item `one` has seen item `other`. */
export function sees(one, other) {
  if (one.base) return effective(one.base, other);
  if (one.transaction === other.transaction) return other.position < one.position;
  return effective(one.record.past, other);
}

/** The place that names the epoch of a `replace`. */
export const epochOf = (item) => place(item.record);

/** The items of a list that no other of it has seen. */
export const uncovered = (items) =>
  items.filter((item) => !items.findLast((other) => other !== item && sees(other, item)));
