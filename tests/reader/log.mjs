// The log of a vault: segment files of entries, each checked as it is read.

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { textOf } from "./hash.mjs";
import { readRecord } from "./record.mjs";

const FRAME = /^R (\d+) (\d+) (\d+) ([0-9a-f]{64}) ([0-9a-f]{128})(?: (\d+))?$/;

const MAX_FRAME = 290;

/** The entry at an offset; null when the file ends before it, `{ entry: null }` when it is none. */
function entryAt(bytes, start) {
  const end = bytes.indexOf(10, start);
  if (end < 0 && bytes.length - start < MAX_FRAME) return null;
  const frame = end < 0 ? null : FRAME.exec(textOf(bytes.subarray(start, end)) ?? "");
  if (!frame) return { entry: null };
  let at = end + 1;
  const parts = [];
  for (const length of [...(frame[6] ? [frame[6]] : []), ...frame.slice(1, 4)].map(Number)) {
    if (at + length >= bytes.length) return null;
    if (bytes[at + length] !== 10) return { entry: null };
    parts.push(bytes.subarray(at, at + length));
    at += length + 1;
  }
  const [header, body, payloads] = parts.slice(-3);
  const gone = frame[6] ? textOf(parts[0]) : "";
  return { entry: { id: frame[4], sig: frame[5], header, body, payloads, gone }, next: at };
}

/** Reads every device's chain. `found` is told what is wrong. */
export function readLog(vault, found) {
  const root = join(vault, ".aios", "log");
  const chains = new Map();
  for (const device of existsSync(root) ? readdirSync(root).sort() : []) {
    if (!/^[0-9a-f]{64}$/.test(device)) continue;
    const chain = [];
    const names = readdirSync(join(root, device)).filter((name) => name.endsWith(".log")).sort();
    for (const name of names) {
      if (name !== `${String(chain.length + 1).padStart(10, "0")}.log`) {
        found("log", `${device}/${name}`, "segment is not named by its first number");
      }
      readSegment(join(root, device, name), name === names.at(-1), device, chain, found);
    }
    chains.set(device, chain);
  }
  return chains;
}

function readSegment(file, newest, device, chain, found) {
  const bytes = readFileSync(file);
  let at = 0;
  while (at < bytes.length) {
    const read = entryAt(bytes, at);
    const checked = read?.entry && readRecord(read.entry);
    const last = newest && (!read || read.next === bytes.length);
    if (!checked?.record || checked.wrong.length > 0) {
      // At the very end of the newest segment this was never acknowledged.
      if (last) return;
      found("log", `${device}:${chain.length + 1}`, checked ? checked.wrong.join(", ") : "not an entry, or cut off");
      if (!checked?.record) return;
    }
    const { record } = checked;
    const before = chain.at(-1);
    if (record.device !== device) found("chain", record.id, "in the log of another device");
    if (record.seq !== chain.length + 1) found("chain", record.id, "number out of order");
    if (record.prev !== (before?.id ?? null)) found("chain", record.id, "prev is not the record before");
    chain.push(record);
    at = read.next;
  }
}
