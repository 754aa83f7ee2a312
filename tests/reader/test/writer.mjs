// A small writer of logs for the tests: devices that write records into a directory.

import { mkdirSync, appendFileSync } from "node:fs";
import { join } from "node:path";
import { ed25519 } from "@noble/curves/ed25519.js";
import * as Automerge from "@automerge/automerge";
import { H, bytesOf, hex, unhex } from "../hash.mjs";
import { blobId } from "../git.mjs";
import { content, skeleton } from "../document.mjs";

const key = (name) => unhex(H(name));

/** Where an edit made here has its patch and its change. */
const DELTA = Symbol("delta");

export const describe = (text) => ({ hash: H(text), size: bytesOf(text).length, git: blobId(bytesOf(text)) });

const bytesOfDelta = (item) => Buffer.concat([item[DELTA].patch, item[DELTA].change ?? Buffer.alloc(0)]);

/** An edit that names its delta. */
function pack(item) {
  const bytes = bytesOfDelta(item);
  return { ...item, delta: { hash: H(bytes), size: bytes.length, patch: item[DELTA].patch.length } };
}

/** The edit with the change of another, or with none. */
export const changed = (item, other) => ({ ...item, [DELTA]: { ...item[DELTA], change: other?.[DELTA].change } });

export class Device {
  constructor(directory, name, vault) {
    this.secret = key(name);
    this.id = hex(ed25519.getPublicKey(this.secret));
    this.vault = vault ?? H("aios-vault-v1\n", this.id, "\n", "nonce");
    this.folder = join(directory, ".aios", "log", this.id);
    mkdirSync(this.folder, { recursive: true });
    this.seq = 0;
    this.prev = null;
  }

  /** Writes one record and returns its id. */
  write(time, items, { deps = [], payloads = [], onto, ...more } = {}) {
    const named = items.map((item) => (item[DELTA] ? pack(item) : item));
    const body = bytesOf(
      JSON.stringify({ message: `at ${time}`, author: { name: "A <b>", email: "a@b" }, ...(onto === undefined ? {} : { onto }), items: named, ...more }),
    );
    const header = bytesOf(
      JSON.stringify({
        v: 1, vault: this.vault, device: this.id, seq: ++this.seq, prev: this.prev, deps,
        clock: [time, 0], wall: time, actor: "operator", len: body.length, body: H(body),
      }),
    );
    const id = H(header);
    const sig = hex(ed25519.sign(Buffer.concat([bytesOf("aios-record-v1\n"), unhex(id)]), this.secret));
    const others = payloads.map(bytesOf);
    const own = (item) => item[DELTA] ? bytesOfDelta(item) : (item.hash && item.kind !== "blob" ? others.shift() : null);
    const load = Buffer.concat([...items.map(own).filter(Boolean), ...others].map((part) => Buffer.from(part)));
    const entry = [`R ${header.length} ${body.length} ${load.length} ${id} ${sig}\n`, header, "\n", body, "\n", load, "\n"];
    appendFileSync(join(this.folder, "0000000001.log"), Buffer.concat(entry.map((part) => Buffer.from(part))));
    this.prev = id;
    return id;
  }
}

/** The event that makes a vault, with an operator key, and one that adds a device. */
export const created = (operator) => ({
  t: "event", type: "vault.created", name: "v", nonce: "nonce", device_name: "one",
  operator: hex(ed25519.getPublicKey(key(operator))), roles: ["write", "administer"],
});

export function added(vault, device, operator, place) {
  const event = { device, name: "two", roles: ["write"], operator: null };
  const text = `aios-member-v1\n${vault}\n${device}\ntwo\nwrite\n\n${place}`;
  const secret = key(operator);
  return { t: "event", type: "device.added", ...event, sig: Buffer.from(ed25519.sign(bytesOf(text), secret)).toString("base64"), by: hex(ed25519.getPublicKey(secret)) };
}

/** An edit of a document whose only content so far is `from`: one splice of its body. */
export function edit(doc, kind, from, at, gone, text) {
  const base = skeleton(doc, "");
  const first = content(doc, "", base, from, kind);
  const handle = Automerge.getBackend(Automerge.init({ actor: H(doc, text).slice(0, 32) }));
  handle.applyChanges([base.bytes, first.bytes]);
  handle.splice(handle.getWithType("_root", "body")[1], at, gone, text);
  handle.commit(null, 0);
  const change = Buffer.from(handle.getLastLocalChange());
  const front = from.length - first.body.length;
  const whole = from.slice(0, front + at) + text + from.slice(front + at + gone);
  const offset = bytesOf(from.slice(0, front + at)).length;
  const removed = bytesOf(from.slice(front + at, front + at + gone)).length;
  const patch = Buffer.from(JSON.stringify([[offset, removed, text]]));
  return { t: "edit", doc, epoch: "", from: H(from), ...describe(whole), [DELTA]: { patch, change } };
}
