// The membership rule: whose records are in the log, and which of them count.

import { deciding, firstAddition, line, rolesIn } from "./authority.mjs";
import { H } from "./hash.mjs";
import { stamp, verifies } from "./record.mjs";
import { has, union } from "./view.mjs";

const memberText = (vault, { device, name, roles, operator }, record) =>
  `aios-member-v1\n${vault}\n${device}\n${name}\n${roles.join(",")}\n${operator ?? ""}\n${record.device}:${record.seq}`;

const rolesText = (vault, { device, roles }, record) =>
  `aios-roles-v1\n${vault}\n${device}\n${roles.join(",")}\n${record.device}:${record.seq}`;

const revocationText = (vault, { device, last }, record) =>
  `aios-revoke-v1\n${vault}\n${device}\n${last ? `${last[0]}:${last[1]}` : ""}\n${record.device}:${record.seq}`;

const recoveryText = (vault, root, record) => `aios-recovery-v1\n${vault}\n${root}\n${record.device}:${record.seq}`;

const rotationText = (vault, { device, operator }, record) =>
  `aios-rotate-v1\n${vault}\n${device}\n${operator ?? ""}\n${record.device}:${record.seq}`;

const rootText = (record, text) => `aios-root-v1\n${record.device}:${record.seq}\n${text}`;

const vaultId = ({ device }, { nonce, root }) =>
  root ? H("aios-vault-v2\n", device, "\n", nonce, "\n", root.key) : H("aios-vault-v1\n", device, "\n", nonce);

const acceptText = (vault, { path, hash }, record) =>
  `aios-accept-v1\n${vault}\n${path}\n${hash}\n${record.device}:${record.seq}`;

const forgetText = (vault, { doc }, record) => `aios-forget-v1\n${vault}\n${doc}\n${record.device}:${record.seq}`;

const KINDS = [
  "vault.created",
  "recovery.set",
  "device.added",
  "device.renamed",
  "device.roles",
  "device.revoked",
  "device.rotated",
  "rules.accepted",
  "document.forgotten",
];

/** Bytes in base64 as RFC 4648 has it; none where it is anything else, which `Buffer` alone would read somehow. */
const bytes = (text) => {
  const read = Buffer.from(text ?? "", "base64");
  return read.toString("base64") === text ? read : Buffer.alloc(0);
};

/** The device that an event of a record makes a member. */
const addedBy = (event, record) =>
  ({ "vault.created": record.device, "device.added": event.device, "device.rotated": event.device })[event.type];

/** The records that count, in their order. */
export function integrated(records, found) {
  const deeds = [];
  const kept = [];
  const known = new Map();
  let maker = null;
  const added = (device, view) => deeds.some((deed) => deed.adds === device && has(view, deed.record));
  // Whether `by` is an operator key that the view knows, of a device that has the role there.
  const may = (by, role, view) =>
    deeds.some(
      (deed) =>
        deed.adds && deed.operator === by && has(view, deed.record) && rolesIn(deeds, deed.adds, view).includes(role),
    );
  const operatorOf = (device, view) =>
    firstAddition(deeds, device, view)?.operator ?? null;
  const isRoot = (key, view) => deeds.some((deed) => deed.root && deed.root.key === key && has(view, deed.record));
  const isMakers = (device, view) => line(deeds, device, view).includes(maker.device);
  const wrong = (event, record) => {
    const { vault, view } = record;
    const signed = (text, role) => {
      const sig = bytes(event.sig);
      if (isRoot(event.by, view)) return verifies(sig, event.by, rootText(record, text));
      return may(event.by, role, view) && verifies(sig, event.by, text);
    };
    const held = (root) => verifies(bytes(root.sig), root.key, recoveryText(vault, root.key, record));
    switch (event.type) {
      case "vault.created":
        return record.seq !== 1 || vaultId(record, event) !== vault || (event.root && !held(event.root));
      case "recovery.set": {
        const { root, by, sig } = event;
        const own = operatorOf(record.device, view) === by && verifies(bytes(sig), by, recoveryText(vault, root.key, record));
        return !own || !held(root) || isRoot(root.key, view) || !isMakers(record.device, view);
      }
      case "document.forgotten":
        return !signed(forgetText(vault, event, record), "administer");
      case "device.rotated": {
        const text = rotationText(vault, event, record);
        const again = deeds.some((deed) => deed.type === event.type && deed.record.device === record.device && has(view, deed.record));
        const own = operatorOf(record.device, view);
        const meant = own
          ? event.by === own && verifies(bytes(event.sig), own, text)
          : [event.by, event.sig, event.operator].every((member) => (member ?? null) === null);
        return again || !added(record.device, view) || added(event.device, view) || !meant || !verifies(bytes(event.proof), event.device, text);
      }
      case "device.added":
        return !signed(memberText(vault, event, record), "administer");
      case "device.renamed":
        return !added(event.device, view);
      case "device.roles":
        return !added(event.device, view) || !signed(rolesText(vault, event, record), "administer");
      case "device.revoked": {
        const seen = (view.get(event.device) ?? 0) - (event.device === record.device ? 1 : 0);
        const [seq, id] = event.last ?? [0, null];
        const last = seq === 0 ? id === null : known.get(id)?.device === event.device && known.get(id).seq === seq;
        const again = deeds.some(
          ({ type, device, by, record: { device: author } }) =>
            type === event.type && device === event.device && by === event.by && author === record.device,
        );
        const stays = isMakers(event.device, view) && event.by !== operatorOf(event.device, view) && !isRoot(event.by, view);
        return !added(event.device, view) || !signed(revocationText(vault, event, record), "administer") || seq !== seen || !last || again || stays;
      }
      default:
        return false;
    }
  };
  for (const record of records) {
    const events = record.items.filter((item) => item.t === "event" && KINDS.includes(item.type));
    const created = events.find((item) => item.type === "vault.created");
    if (created && record.seq === 1 && vaultId(record, created) === record.vault) {
      maker ??= record;
      if (maker.vault !== record.vault) found("vault", record.id, "another vault");
    }
    if (!maker || record.vault !== maker.vault) {
      found("vault", record.id, "not of this vault");
      continue;
    }
    if ([record.prev, ...record.deps].some((id) => id && !known.has(id))) {
      found("member", record.id, "its past is not integrated");
      continue;
    }
    const before = deeds.length;
    const bad = events.find((event) => {
      if (wrong(event, record)) return true;
      const adds = addedBy(event, record);
      const consent =
        event.type !== "rules.accepted" ||
        (may(event.by, "approve", record.view) &&
          verifies(bytes(event.sig), event.by, acceptText(record.vault, event, record)));
      if (consent) deeds.push({ ...event, record, stamp: stamp(record), index: record.items.indexOf(event), adds });
      return false;
    });
    if (bad) found("member", record.id, `${bad.type} of ${bad.device} does not hold`);
    const writes = record.items.some((item) => KNOWN.has(item.t) || item.type === "document.forgotten");
    const allowed = !writes || rolesIn(deeds, record.device, record.view).includes("write");
    if (!added(record.device, record.view)) found("member", record.id, `device ${record.device} was not added in its past`);
    else if (!allowed) found("member", record.id, `device ${record.device} may not write`);
    if (bad || !allowed || !added(record.device, record.view)) {
      deeds.length = before;
      continue;
    }
    kept.push(record);
    known.set(record.id, record);
  }
  const { bound, rooted } = deciding(deeds);
  return { vault: maker?.vault ?? null, records: counting(kept, bound, rooted) };
}

const KNOWN = new Set(["create", "edit", "replace", "move", "movedir", "mode", "delete", "history", "commit", "seal"]);

/** Of the records in a log those that count: what members wrote up to their end and what a root key signed, and all that rests on. */
function counting(records, bound, rooted) {
  const ends = new Map();
  for (const record of records) {
    if (record.seq <= bound(record.device)) ends.set(record.device, record);
  }
  const view = whole([...ends.values(), ...rooted]);
  return records.filter((record) => has(view, record));
}

/** The view that holds all records given. */
export const whole = (records) => union(...records.map((record) => record.view));
