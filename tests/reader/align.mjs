// Alignment of two line lists, and the line merge built on it.

/** Splits text into lines, each with its line end. */
export function lines(text) {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/** The matched pairs [i, j] of two lists, ascending in both. */
export function align(a, b) {
  const pairs = [];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) {
    pairs.push([start, start]);
    start++;
  }
  let endA = a.length;
  let endB = b.length;
  const tail = [];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) tail.push([--endA, --endB]);
  tail.reverse();

  let fromA = start;
  let fromB = start;
  const gap = (toA, toB) => {
    while (fromA < toA && fromB < toB && a[fromA] === b[fromB]) pairs.push([fromA++, fromB++]);
    const back = [];
    while (toA > fromA && toB > fromB && a[toA - 1] === b[toB - 1]) back.push([--toA, --toB]);
    pairs.push(...back.reverse());
  };
  for (const [i, j] of anchors(a, b, start, endA, endB)) {
    gap(i, j);
    pairs.push([i, j]);
    fromA = i + 1;
    fromB = j + 1;
  }
  gap(endA, endB);
  return [...pairs, ...tail];
}

/** The longest increasing run of the lines that occur once in each middle. */
function anchors(a, b, start, endA, endB) {
  const places = (list, end) => {
    const found = new Map();
    for (let i = start; i < end; i++) found.set(list[i], found.has(list[i]) ? -1 : i);
    return found;
  };
  const inA = places(a, endA);
  const inB = places(b, endB);
  const pairs = [];
  for (let i = start; i < endA; i++) {
    const j = inB.get(a[i]);
    if (inA.get(a[i]) === i && j !== undefined && j !== -1) pairs.push({ i, j, before: null });
  }
  const tops = [];
  for (const pair of pairs) {
    let low = 0;
    let high = tops.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tops[middle].j > pair.j) high = middle;
      else low = middle + 1;
    }
    pair.before = low > 0 ? tops[low - 1] : null;
    tops[low] = pair;
  }
  const run = [];
  for (let at = tops.at(-1) ?? null; at; at = at.before) run.push([at.i, at.j]);
  return run.reverse();
}

const same = (x, y) => x.length === y.length && x.every((line, i) => line === y[i]);

/** Merges two sides of a base text by lines. */
export function lineMerge(base, left, right) {
  const o = lines(base);
  const a = lines(left);
  const b = lines(right);
  const inA = new Map(align(o, a));
  const inB = new Map(align(o, b));
  const out = [];
  let at = { o: 0, a: 0, b: 0 };
  const chunk = (to) =>
    out.push(...settle(o.slice(at.o, to.o), a.slice(at.a, to.a), b.slice(at.b, to.b)));
  for (let i = 0; i < o.length; i++) {
    if (!inA.has(i) || !inB.has(i)) continue;
    chunk({ o: i, a: inA.get(i), b: inB.get(i) });
    out.push(o[i]);
    at = { o: i + 1, a: inA.get(i) + 1, b: inB.get(i) + 1 };
  }
  chunk({ o: o.length, a: a.length, b: b.length });
  const ended = (line, i) => (i + 1 < out.length && !line.endsWith("\n") ? `${line}\n` : line);
  return out.map(ended).join("");
}

function settle(o, a, b) {
  if (same(a, o)) return b;
  if (same(b, o) || same(a, b)) return a;
  if (o.length > 1 && o.length === a.length && o.length === b.length) {
    return o.flatMap((line, i) => settle([line], [a[i]], [b[i]]));
  }
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  const room = Math.min(a.length, b.length) - head;
  while (tail < room && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  return [...a.slice(0, a.length - tail), ...b.slice(head)];
}
