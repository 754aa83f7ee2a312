// One record: its header, body and payloads, and the checks that need nothing else.

import { ed25519 } from "@noble/curves/ed25519.js";
import { H, bytesOf, textOf, unhex } from "./hash.mjs";

const HEX64 = /^[0-9a-f]{64}$/;

/** Whether the bytes `sig` are the signature of `key` over a message. */
export function verifies(sig, key, ...message) {
  try {
    return ed25519.verify(sig, Buffer.concat(message.map(bytesOf)), unhex(key), { zip215: false });
  } catch {
    return false;
  }
}

export const textKind = (kind) => kind === "md" || kind === "text" || kind === "lines";

/** Which payloads are not with a record: the numbers of a list such as `0-3,7`. */
function ordinals(text) {
  const out = new Set();
  for (const range of text ? text.split(",") : []) {
    const [first, last = first] = range.split("-").map(Number);
    for (let n = first; n <= last; n++) out.add(n);
  }
  return out;
}

/** Hash and size of the payload of an item. */
function payloadOf(item) {
  if (item.t === "edit") return item.delta;
  return (item.t === "create" || item.t === "replace") && item.kind !== "blob" ? item : null;
}

/** Parses an entry of a log; returns the record and what is wrong with it. */
export function readRecord({ id, sig, header, body, payloads, gone = "" }) {
  const wrong = [];
  if (H(header) !== id) wrong.push("id is not the hash of the header");
  let head;
  let content;
  try {
    head = JSON.parse(textOf(header));
    content = JSON.parse(textOf(body));
  } catch {
    return { record: null, wrong: [...wrong, "header or body is not JSON"] };
  }
  if (head.v !== 1) wrong.push(`version ${head.v}`);
  if (!HEX64.test(head.device) || !HEX64.test(head.vault)) wrong.push("device or vault is not an id");
  if (!Number.isSafeInteger(head.seq) || head.seq < 1) wrong.push("seq");
  if ((head.prev === null) !== (head.seq === 1)) wrong.push("prev is null only for record 1");
  if (head.len !== body.length || head.body !== H(body)) wrong.push("body does not match the header");
  if (!verifies(unhex(sig), head.device, "aios-record-v1\n", unhex(id))) wrong.push("signature");

  const items = (content.items ?? []).map((item) => ({ ...item }));
  const absent = ordinals(gone);
  let at = 0;
  let ordinal = 0;
  for (const item of items) {
    const named = payloadOf(item);
    if (!named) continue;
    if (absent.delete(ordinal++)) {
      item.absent = true;
      continue;
    }
    const bytes = payloads.subarray(at, at + named.size);
    at += named.size;
    if (bytes.length !== named.size || H(bytes) !== named.hash) wrong.push(`payload of ${item.doc}`);
    if (item.t !== "edit") {
      item.bytes = bytes;
      continue;
    }
    try {
      item.patch = JSON.parse(textOf(bytes.subarray(0, named.patch)));
    } catch {
      wrong.push(`the patch of ${item.doc} is not JSON`);
    }
    item.change = named.patch < named.size ? bytes.subarray(named.patch) : null;
  }
  if (at !== payloads.length || absent.size > 0) wrong.push("payload bytes left over");
  return { record: { ...head, id, sig, content, items }, wrong };
}

/** Compares two clocks or stamps member by member. */
export const stamp = (record) => [record.clock[0], record.clock[1], record.device, record.seq];

export const place = (record) => `${record.device}:${record.seq}`;
