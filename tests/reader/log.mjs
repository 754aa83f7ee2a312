// The log of a vault: segment files of entries, each checked as it is read.

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { inflateSync } from "node:zlib";
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
    const all = readdirSync(join(root, device)).filter((name) => /\.logz?$/.test(name)).sort();
    // Where a segment lies there in both forms the longer one counts.
    const size = (name) => (name.endsWith("z") ? unpack : readFileSync)(join(root, device, name))?.length ?? -1;
    const other = (name) => (name.endsWith("z") ? name.slice(0, -1) : `${name}z`);
    const longer = (name) => size(name) - size(other(name)) || (name.endsWith("z") ? -1 : 1);
    const names = all.filter((name) => !all.includes(other(name)) || longer(name) > 0);
    for (const name of names) {
      if (name.replace(/z$/, "") !== `${String(chain.length + 1).padStart(10, "0")}.log`) {
        found("log", `${device}/${name}`, "segment is not named by its first number");
      }
      const packed = name.endsWith("z");
      const bytes = packed ? unpack(join(root, device, name)) : readFileSync(join(root, device, name));
      if (!bytes) {
        found("log", `${device}/${name}`, "a packed segment that does not unpack");
        continue;
      }
      readSegment(bytes, name === names.at(-1) && !packed, device, chain, found);
    }
    chains.set(device, chain);
  }
  return chains;
}

/** The bytes of a packed segment; null where it is none. */
function unpack(file) {
  const bytes = readFileSync(file);
  const first = bytes.indexOf(10);
  const second = bytes.indexOf(10, first + 1);
  const [magic, length] = textOf(bytes.subarray(0, Math.max(first, 0)))?.split(" ") ?? [];
  if (magic !== "aios-segment-v1" || second < 0) return null;
  const lengths = textOf(bytes.subarray(first + 1, second)).split(" ").filter(Boolean).map(Number);
  const blocks = [];
  let at = second + 1;
  try {
    for (const part of lengths) {
      blocks.push(inflateSync(bytes.subarray(at, at + part)));
      at += part;
    }
  } catch {
    return null;
  }
  const out = Buffer.concat(blocks);
  return at === bytes.length && out.length === Number(length) ? out : null;
}

function readSegment(bytes, newest, device, chain, found) {
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
