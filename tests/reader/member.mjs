// The membership rule: whose records are integrated.

import { H } from "./hash.mjs";
import { verifies } from "./record.mjs";
import { has, union } from "./view.mjs";

const memberText = (vault, { device, name, roles, operator }) =>
  `aios-member-v1\n${vault}\n${device}\n${name}\n${roles.join(",")}\n${operator ?? ""}`;

/** The records that are integrated, in their order. */
export function integrated(records, found) {
  const added = [];
  const named = [];
  const keys = [];
  const kept = [];
  const known = new Set();
  let maker = null;
  // A member as it stands in a view: the first that added it, with the last name it was given.
  const standing = (device, view) => {
    const of = (one) => one.device === device && has(view, one.record);
    return { ...added.find(of), ...(named.findLast(of) && { name: named.findLast(of).name }) };
  };
  for (const record of records) {
    const events = record.items.filter((item) => item.t === "event");
    const created = events.find((item) => item.type === "vault.created");
    if (created && record.seq === 1 && H("aios-vault-v1\n", record.device, "\n", created.nonce) === record.vault) {
      maker ??= record;
      if (maker.vault !== record.vault) found("vault", record.id, "another vault");
    }
    if (!maker || record.vault !== maker.vault) {
      found("vault", record.id, "not of this vault");
      continue;
    }
    const member =
      record === maker ||
      added.some((event) => event.device === record.device && has(record.past, event.record));
    if (!member) {
      found("member", record.id, `device ${record.device} was not added in its past`);
      continue;
    }
    if ([record.prev, ...record.deps].some((id) => id && !known.has(id))) {
      found("member", record.id, "its past is not integrated");
      continue;
    }
    if (record === maker) {
      keys.push({ key: created.operator, record });
      added.push({ device: record.device, name: created.device_name, operator: created.operator, record });
    }
    for (const event of events) {
      if (event.type === "device.renamed") named.push({ ...event, record });
      if (event.type !== "device.added" && event.type !== "device.roles") continue;
      const trusted = keys.some(({ key, record: at }) => key === event.by && has(record.view, at));
      const statement = event.type === "device.added" ? event : { ...standing(event.device, record.view), roles: event.roles };
      const sig = Buffer.from(event.sig, "base64");
      if (!trusted || !statement.device || !verifies(sig, event.by, memberText(record.vault, statement))) {
        found("member", record.id, `${event.type} of ${event.device} is not signed by a known operator`);
        continue;
      }
      if (event.type !== "device.added") continue;
      added.push({ ...event, record });
      if (event.operator && event.roles.includes("administer")) keys.push({ key: event.operator, record });
    }
    kept.push(record);
    known.add(record.id);
  }
  return { vault: maker?.vault ?? null, records: kept };
}

/** The view that holds all records given. */
export const whole = (records) => union(...records.map((record) => record.view));
