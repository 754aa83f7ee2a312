// Which events about members count, and up to where a device's records do.

import { compareList } from "./hash.mjs";
import { has } from "./view.mjs";

const order = (deed) => [...deed.stamp, deed.index];

/** The roles of a device as the records of a view have them. */
export function rolesIn(deeds, device, view) {
  const seen = deeds.filter((deed) => has(view, deed.record)).sort((a, b) => compareList(order(a), order(b)));
  const changed = seen.findLast((deed) => deed.type === "device.roles" && deed.device === device);
  return (changed ?? seen.find((deed) => deed.adds === device))?.roles ?? [];
}

const all = (marks) => (marks.includes("out") ? "out" : marks.includes("open") ? "open" : "in");
const not = (mark) => ({ in: "out", out: "in", open: "open" })[mark];
const any = (marks) => not(all(marks.map(not)));

/** From all events about members, a function that gives the number of the last record of a device that counts by itself. */
export function deciding(all_deeds) {
  const deeds = [...all_deeds].sort((a, b) => compareList(order(a), order(b)));
  deeds.forEach((deed) => (deed.mark = "open"));
  const sees = (deed, other) => has(deed.record.view, other.record);
  const added = (device, deed) => deeds.filter((other) => other.adds === device && sees(deed, other));
  const changes = (device, deed) =>
    deeds.filter((other) => other.type === "device.roles" && other.device === device && other !== deed && sees(deed, other));
  const strikes = (device, deed) =>
    deeds.filter((other) => other.type === "device.revoked" && other.device === device && !sees(other, deed));
  const holders = (key) => [...new Set(deeds.filter((deed) => deed.adds && deed.operator === key).map(({ adds }) => adds))];

  const isMember = (device, deed) => any(added(device, deed).map((other) => (other === deed ? "in" : other.mark)));
  const unstruck = (device, deed) => all(strikes(device, deed).map(({ mark }) => not(mark)));
  const hasRole = (device, role, deed) => {
    const last = [...changes(device, deed).reverse(), ...added(device, deed)].find(({ mark }) => mark !== "out");
    if (!last) return "out";
    return last.mark === "open" ? "open" : last.roles.includes(role) ? "in" : "out";
  };
  const judge = (deed) => {
    const author = deed.record.device;
    if (deed.type === "vault.created") return "in";
    const role = deed.type === "rules.accepted" ? "approve" : "administer";
    const right = deed.by
      ? any(holders(deed.by).map((holder) => all([isMember(holder, deed), hasRole(holder, role, deed), unstruck(holder, deed)])))
      : hasRole(author, role, deed);
    return all([isMember(author, deed), unstruck(author, deed), right]);
  };
  const hangsOn = (deed) => {
    const devices = [...(deed.by ? holders(deed.by) : []), deed.record.device];
    const on = devices.flatMap((device) => [...added(device, deed), ...changes(device, deed), ...strikes(device, deed)]);
    return new Set(on.filter((other) => other !== deed && other.mark === "open"));
  };
  const reach = (deed) => {
    const found = new Set();
    const next = [deed];
    while (next.length > 0) {
      for (const other of hangsOn(next.pop())) {
        if (!found.has(other)) next.push(other);
        found.add(other);
      }
    }
    return found;
  };
  const rank = (deed) => {
    const first = deeds.find((other) => other.adds === deed.record.device);
    return [first.type === "vault.created" ? 0 : 1, ...first.stamp, deed.record.device, ...order(deed)];
  };

  for (;;) {
    let moved = false;
    for (const deed of deeds.filter(({ mark }) => mark === "open")) {
      deed.mark = judge(deed);
      moved ||= deed.mark !== "open";
    }
    if (moved) continue;
    const open = deeds.filter(({ mark }) => mark === "open");
    if (open.length === 0) break;
    const reached = new Map(open.map((deed) => [deed, reach(deed)]));
    const alone = open.filter((deed) => [...reached.get(deed)].every((other) => reached.get(other).has(deed)));
    const rings = alone.filter(({ type }) => type === "device.revoked").sort((a, b) => compareList(rank(a), rank(b)));
    rings.at(-1).mark = "out";
  }

  const bounds = new Map();
  for (const deed of deeds.filter(({ mark }) => mark === "in")) {
    if (deed.adds && !bounds.has(deed.adds)) bounds.set(deed.adds, Infinity);
  }
  for (const deed of deeds.filter(({ mark, type }) => mark === "in" && type === "device.revoked")) {
    const last = deed.device === deed.record.device ? deed.record.seq : (deed.last?.[0] ?? 0);
    if (bounds.has(deed.device)) bounds.set(deed.device, Math.min(last, bounds.get(deed.device)));
  }
  return (device) => bounds.get(device) ?? 0;
}
