// The hashes of the format: BLAKE3 for everything of aios, SHA-1 for what git names.

import { createHash } from "node:crypto";
import { blake3 } from "@noble/hashes/blake3.js";

const encoder = new TextEncoder();

/** The bytes of a string in UTF-8; bytes stay as they are. */
export const bytesOf = (value) => (typeof value === "string" ? encoder.encode(value) : value);

export const hex = (bytes) => Buffer.from(bytes).toString("hex");

export const unhex = (text) => Uint8Array.from(Buffer.from(text, "hex"));

/** The text of UTF-8 bytes (a BOM stays), or null when they are not UTF-8. */
export function textOf(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** `H(a, b, …)`: BLAKE3 over the concatenation, in hex. */
export function H(...parts) {
  const state = blake3.create();
  for (const part of parts) state.update(bytesOf(part));
  return hex(state.digest());
}

/** The id git gives an object of a type. */
export const gitId = (type, bytes) =>
  createHash("sha1").update(`${type} ${bytes.length}\0`).update(bytes).digest("hex");

export const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** Compares two strings by code point (UTF-16 order differs beyond the BMP). */
export const compareText = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** Compares two arrays member by member. */
export function compareList(a, b) {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const order = compare(a[i], b[i]);
    if (order) return order;
  }
  return a.length - b.length;
}
