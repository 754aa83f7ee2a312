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

/** Parses an entry of a log; returns the record and what is wrong with it. */
export function readRecord({ id, sig, header, body, payloads }) {
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
  let at = 0;
  for (const item of items) {
    if ((item.t !== "create" && item.t !== "replace") || item.kind === "blob") continue;
    item.bytes = payloads.subarray(at, at + item.size);
    at += item.size;
    if (item.bytes.length !== item.size || H(item.bytes) !== item.hash) wrong.push(`payload of ${item.doc}`);
  }
  if (at !== payloads.length) wrong.push("payload bytes left over");
  return { record: { ...head, id, sig, content, items }, wrong };
}

/** Compares two clocks or stamps member by member. */
export const stamp = (record) => [record.clock[0], record.clock[1], record.device, record.seq];

export const place = (record) => `${record.device}:${record.seq}`;
