// Views: causally closed sets of records, named by one number per device.

import { compareList } from "./hash.mjs";
import { stamp } from "./record.mjs";

/** A view is a Map from device to number. */
export const has = (view, { device, seq }) => (view.get(device) ?? 0) >= seq;

export function union(...views) {
  const all = new Map();
  for (const view of views) {
    for (const [device, seq] of view) all.set(device, Math.max(seq, all.get(device) ?? 0));
  }
  return all;
}

export function intersection(one, other) {
  const both = new Map();
  for (const [device, seq] of one) {
    const least = Math.min(seq, other.get(device) ?? 0);
    if (least > 0) both.set(device, least);
  }
  return both;
}

export const viewOf = (object) => new Map(Object.entries(object));

/** Orders records so that each comes after its past, and gives each `past` and `view`. */
export function order(chains, found) {
  const records = [...chains.values()].flat();
  const byId = new Map(records.map((record) => [record.id, record]));
  const ordered = [];
  for (const record of records.sort((a, b) => compareList(stamp(a), stamp(b)))) {
    const parents = [...(record.prev ? [record.prev] : []), ...record.deps].map((id) => byId.get(id));
    if (parents.some((parent) => parent === undefined)) {
      found("closure", record.id, "a record of its past is missing");
      continue;
    }
    if (parents.some((parent) => compareList(parent.clock, record.clock) >= 0)) {
      found("clock", record.id, "clock is not greater than that of its past");
    }
    if (parents.some((parent) => !parent.view)) {
      found("closure", record.id, "its past is not whole");
      continue;
    }
    // `prev` may lie in the past of another: its device goes on from what others built on it.
    for (const parent of parents.filter((parent) => parent.id !== record.prev)) {
      if (parents.some((other) => other !== parent && has(other.view, parent))) {
        found("deps", record.id, `${parent.id} lies in the past of another`);
      }
    }
    record.past = union(...parents.map((parent) => parent.view));
    record.view = union(record.past, new Map([[record.device, record.seq]]));
    ordered.push(record);
  }
  return ordered;
}
