// Which events about members count, and up to where a device's records do.

import { compareList } from "./hash.mjs";
import { has } from "./view.mjs";

const order = (deed) => [...deed.stamp, deed.index];

const sorted = (deeds) => [...deeds].sort((a, b) => compareList(order(a), order(b)));

/** Whether the device that a deed adds says so itself, with its key. */
const isOwnWord = (deed) => deed.type === "device.rotated" || deed.adds === deed.record.device;

/** The deeds that add a device, its own word first. */
const adding = (deeds, device) => {
  const about = sorted(deeds.filter((deed) => deed.adds === device));
  return [...about.filter(isOwnWord), ...about.filter((deed) => !isOwnWord(deed))];
};

/** The first deed in a view that adds a device. */
export const firstAddition = (deeds, device, view) => adding(deeds, device).find((deed) => has(view, deed.record));

/** A device, and those before it in whose place it is, as the records of a view have it. */
export function line(deeds, device, view) {
  const found = [device];
  for (;;) {
    const first = firstAddition(deeds, found.at(-1), view);
    if (first?.type !== "device.rotated" || found.includes(first.record.device)) return found;
    found.push(first.record.device);
  }
}

/** The roles of a device as the records of a view have them. */
export function rolesIn(deeds, device, view) {
  const devices = line(deeds, device, view);
  const seen = sorted(deeds.filter((deed) => has(view, deed.record)));
  const changed = seen.findLast((deed) => deed.type === "device.roles" && devices.includes(deed.device));
  return (changed ?? firstAddition(deeds, devices.at(-1), view))?.roles ?? [];
}

/** The device whose membership a deed ends. */
const ends = (deed) => ({ "device.revoked": deed.device, "device.rotated": deed.record.device })[deed.type];

const all = (marks) => (marks.includes("out") ? "out" : marks.includes("open") ? "open" : "in");
const not = (mark) => ({ in: "out", out: "in", open: "open" })[mark];
const any = (marks) => not(all(marks.map(not)));

/** From all events about members: `bound`, a function that gives the number of the last record of a device that counts by itself,
 * and `rooted`, the records that count because of what a root key signed in them. */
export function deciding(all_deeds) {
  const deeds = sorted(all_deeds);
  deeds.forEach((deed) => (deed.mark = "open"));
  // No deed leans on itself or on what comes after it: so only what strikes makes rings.
  const sees = (deed, other) => has(deed.record.view, other.record) && compareList(order(other), order(deed)) < 0;
  const added = (device, deed) => adding(deeds, device).filter((other) => sees(deed, other));
  const changes = (device, deed) =>
    deeds.filter((other) => other.type === "device.roles" && other.device === device && sees(deed, other));
  const strikes = (device, deed) =>
    deeds.filter((other) => ends(other) === device && !has(other.record.view, deed.record));
  const holders = (key) => [...new Set(deeds.filter((deed) => deed.adds && deed.operator === key).map(({ adds }) => adds))];

  const rootSigned = ["device.added", "device.roles", "device.revoked"];
  const rootsOf = (deed) =>
    rootSigned.includes(deed.type)
      ? deeds.filter((other) => other.root && other.root.key === deed.by && sees(deed, other))
      : [];
  // The first of those in whose place a device is, whether that counts or not.
  const firstOf = (device) => {
    const met = [device];
    for (;;) {
      const first = adding(deeds, met.at(-1))[0];
      if (first?.type !== "device.rotated" || met.includes(first.record.device)) return met.at(-1);
      met.push(first.record.device);
    }
  };
  const over = (deed) =>
    deed.type !== "recovery.set"
      ? []
      : deeds.filter(
          (other) =>
            ends(other) &&
            firstOf(ends(other)) === firstOf(deed.record.device) &&
            rootsOf(other).some((root) => compareList(order(root), order(deed)) < 0),
        );
  // A device and those in whose place it is for a deed; null while that is open.
  const lineFor = (device, deed) => {
    const found = [device];
    for (;;) {
      const add = added(found.at(-1), deed).find(({ mark }) => mark !== "out");
      if (add?.type !== "device.rotated" || found.includes(add.record.device)) return found;
      if (add.mark === "open") return null;
      found.push(add.record.device);
    }
  };

  const isMember = (device, deed) => any(added(device, deed).map(({ mark }) => mark));
  const unstruck = (device, deed) => all(strikes(device, deed).map(({ mark }) => not(mark)));
  const hasRole = (device, role, deed) => {
    const devices = lineFor(device, deed);
    if (!devices) return "open";
    const changed = sorted(devices.flatMap((of) => changes(of, deed))).reverse();
    const last = [...changed, ...added(devices.at(-1), deed)].find(({ mark }) => mark !== "out");
    if (!last) return "out";
    return last.mark === "open" ? "open" : last.roles.includes(role) ? "in" : "out";
  };
  const judge = (deed) => {
    const author = deed.record.device;
    if (deed.type === "vault.created") return "in";
    const roots = rootsOf(deed);
    if (roots.length > 0) return any(roots.map(({ mark }) => mark));
    const role = deed.type === "rules.accepted" ? "approve" : "administer";
    const right = deed.type === "device.rotated"
      ? "in"
      : deed.by
      ? any(holders(deed.by).map((holder) => all([isMember(holder, deed), hasRole(holder, role, deed), unstruck(holder, deed)])))
      : hasRole(author, role, deed);
    const upheld = all(over(deed).map(({ mark }) => not(mark)));
    const own = deed.adds === author ? "in" : isMember(author, deed);
    return all([own, unstruck(author, deed), right, upheld]);
  };
  const hangsOn = (deed) => {
    const devices = [...(deed.by ? holders(deed.by) : []), deed.record.device];
    const on = devices.flatMap((device) => [
      ...(lineFor(device, deed) ?? [device]).flatMap((of) => [...added(of, deed), ...changes(of, deed)]),
      ...strikes(device, deed),
    ]);
    on.push(...over(deed), ...rootsOf(deed));
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
    const device = firstOf(deed.record.device);
    const first = adding(deeds, device)[0];
    return [first.type === "vault.created" ? 0 : 1, ...first.stamp, device, ...order(deed)];
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
    const rings = alone.filter((deed) => ends(deed)).sort((a, b) => compareList(rank(a), rank(b)));
    (rings.at(-1) ?? open[0]).mark = "out";
  }

  const bounds = new Map();
  for (const deed of deeds.filter(({ mark }) => mark === "in")) {
    if (deed.adds && !bounds.has(deed.adds)) bounds.set(deed.adds, Infinity);
  }
  for (const deed of deeds.filter((deed) => deed.mark === "in" && ends(deed))) {
    const device = ends(deed);
    const last = device === deed.record.device ? deed.record.seq : (deed.last?.[0] ?? 0);
    if (bounds.has(device)) bounds.set(device, Math.min(last, bounds.get(device)));
  }
  const rooted = deeds.filter((deed) => deed.mark === "in" && rootsOf(deed).length > 0).map(({ record }) => record);
  return { bound: (device) => bounds.get(device) ?? 0, rooted };
}
