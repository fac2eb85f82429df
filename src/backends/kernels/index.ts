/**
 * Index arithmetic of kernels: whole-number expressions over axis variables, affine but for floor-divisions, remainders and data-dependent
 * terms. Axis variables are non-negative, and so is every `div`/`mod` operand wherever the value is used: division and remainder need no
 * sign rules (an index may go negative only where the guard of its load is false, and there its value does not matter).
 */
/** base + Σ factor·atom. Terms are in a normal order and no two have the same atom: equal indices have equal `keyOf`. */
export interface Index {
  readonly base: number;
  readonly terms: readonly Term[];
}
interface Term {
  readonly factor: number;
  readonly atom: Atom;
}
/**
 * axis: the variable of the axis of that number · div, mod: floor division of a non-negative index by a positive constant, and its
 * remainder · value: the i32 value of that number in the kernel's `values`, known to lie in `low..high` inclusive.
 */
export type Atom =
  | { readonly kind: "axis"; readonly axis: number }
  | { readonly kind: "div"; readonly of: Index; readonly by: number }
  | { readonly kind: "mod"; readonly of: Index; readonly by: number }
  | { readonly kind: "value"; readonly value: number; readonly low: number; readonly high: number };

export const constant = (base: number): Index => ({ base, terms: [] });
export const zero: Index = constant(0);
export const axisIndex = (axis: number): Index => ({ base: 0, terms: [{ factor: 1, atom: { kind: "axis", axis } }] });
export const valueIndex = (value: number, low: number, high: number): Index => ({
  base: 0,
  terms: [{ factor: 1, atom: { kind: "value", value, low, high } }],
});

function atomKey(a: Atom): string {
  switch (a.kind) {
    case "axis":
      return `a${a.axis}`;
    case "value":
      return `v${a.value}`;
    default:
      return `${a.kind}(${keyOf(a.of)},${a.by})`;
  }
}
export function keyOf(i: Index): string {
  return i.terms.map((t) => `${t.factor}${atomKey(t.atom)}`).join("+") + (i.base !== 0 || i.terms.length === 0 ? `+${i.base}` : "");
}
export const sameIndex = (a: Index, b: Index): boolean => a === b || keyOf(a) === keyOf(b);

function normal(base: number, terms: readonly Term[]): Index {
  if (terms.length < 2) return { base, terms: terms.filter((t) => t.factor !== 0) };
  const byKey = new Map<string, Term>();
  const put = (t: Term) => {
    const key = atomKey(t.atom);
    const seen = byKey.get(key);
    byKey.set(key, seen ? { factor: seen.factor + t.factor, atom: t.atom } : t);
  };
  for (const t of terms) put(t);
  // f·by·⌊x/by⌋ + f·(x mod by) = f·x
  for (let again = true; again; ) {
    again = false;
    for (const [key, t] of byKey) {
      if (t.atom.kind !== "mod" || t.factor === 0) continue;
      const quotient = quotientOf(t.atom);
      const other = byKey.get(atomKey(quotient));
      if (!other || other.factor !== t.factor * t.atom.by) continue;
      byKey.delete(key);
      byKey.delete(atomKey(quotient));
      base += t.atom.of.base * t.factor;
      for (const u of t.atom.of.terms) put({ factor: u.factor * t.factor, atom: u.atom });
      again = true;
      break;
    }
  }
  const out = [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, t]) => t);
  return { base, terms: out.filter((t) => t.factor !== 0) };
}
/** The atom that `div` makes of the same operand and divisor. */
function quotientOf({ of, by }: { readonly of: Index; readonly by: number }): Atom {
  const only = of.terms.length === 1 && of.base === 0 && of.terms[0].factor === 1 ? of.terms[0].atom : undefined;
  return only?.kind === "div" ? { kind: "div", of: only.of, by: only.by * by } : { kind: "div", of, by };
}
export const add = (a: Index, b: Index): Index =>
  b.terms.length === 0 ? { base: a.base + b.base, terms: a.terms } : normal(a.base + b.base, [...a.terms, ...b.terms]);
export const scale = (a: Index, by: number): Index =>
  by === 1 ? a : by === 0 ? zero : { base: a.base * by, terms: a.terms.map((t) => ({ factor: t.factor * by, atom: t.atom })) };
export const shift = (a: Index, by: number): Index => (by === 0 ? a : { base: a.base + by, terms: a.terms });

/** The least and the greatest value an index takes while each axis runs over its size. */
export function range(i: Index, sizes: readonly number[]): { low: number; high: number } {
  let low = i.base;
  let high = i.base;
  for (const { factor, atom } of i.terms) {
    const r = atomRange(atom, sizes);
    low += factor > 0 ? factor * r.low : factor * r.high;
    high += factor > 0 ? factor * r.high : factor * r.low;
  }
  return { low, high };
}
function atomRange(a: Atom, sizes: readonly number[]): { low: number; high: number } {
  switch (a.kind) {
    case "axis":
      return { low: 0, high: sizes[a.axis] - 1 };
    case "value":
      return a;
    case "div": {
      const r = range(a.of, sizes);
      return { low: Math.floor(r.low / a.by), high: Math.floor(r.high / a.by) };
    }
    case "mod": {
      const r = range(a.of, sizes);
      const same = Math.floor(r.low / a.by) === Math.floor(r.high / a.by);
      return same ? { low: ((r.low % a.by) + a.by) % a.by, high: ((r.high % a.by) + a.by) % a.by } : { low: 0, high: a.by - 1 };
    }
  }
}

/**
 * Splits `i` into whole·by + rest where every term of `whole` is exact; `rest` keeps what does not divide. The base goes to whichever side
 * keeps `rest` within 0..by-1, if one does.
 */
function splitBy(i: Index, by: number): { whole: Index; rest: Index } {
  const whole: Term[] = [];
  const rest: Term[] = [];
  for (const t of i.terms) {
    if (t.factor % by === 0) whole.push({ factor: t.factor / by, atom: t.atom });
    else rest.push(t);
  }
  const base = Math.floor(i.base / by);
  return { whole: { base, terms: whole }, rest: { base: i.base - base * by, terms: rest } };
}

/**
 * ⌊i / by⌋, exact and simplified where the terms divide or the range says so. An index that may be negative is one whose loads are guarded:
 * where the guard is false its value does not matter.
 */
function div(i: Index, by: number, sizes: readonly number[]): Index {
  if (by === 1) return i;
  const { whole, rest } = splitBy(i, by);
  const r = range(rest, sizes);
  const q = Math.floor(r.low / by);
  if (q === Math.floor(r.high / by)) return shift(whole, q);
  // ⌊⌊x/p⌋/by⌋ = ⌊x/(p·by)⌋
  if (rest.terms.length === 1 && rest.base === 0 && rest.terms[0].factor === 1 && rest.terms[0].atom.kind === "div") {
    const inner = rest.terms[0].atom;
    return add(whole, div(inner.of, inner.by * by, sizes));
  }
  // ⌊(c·x + r)/(c·b)⌋ = ⌊x/b⌋ for 0 ≤ r < c
  for (const c of commonFactors(rest, by)) {
    const s = splitBy(rest, c);
    const low = range(s.rest, sizes);
    if (low.low >= 0 && low.high < c) return add(whole, div(s.whole, by / c, sizes));
  }
  return add(whole, { base: 0, terms: [{ factor: 1, atom: { kind: "div", of: rest, by } }] });
}

/** i mod by, in 0..by-1, simplified likewise. */
function mod(i: Index, by: number, sizes: readonly number[]): Index {
  if (by === 1) return zero;
  const { rest } = splitBy(i, by);
  const r = range(rest, sizes);
  const q = Math.floor(r.low / by);
  if (q === Math.floor(r.high / by)) return shift(rest, -q * by);
  if (rest.terms.length === 1 && rest.base === 0 && rest.terms[0].factor === 1 && rest.terms[0].atom.kind === "mod") {
    const inner = rest.terms[0].atom;
    if (inner.by % by === 0) return mod(inner.of, by, sizes);
  }
  // (c·x + r) mod (c·b) = c·(x mod b) + r for 0 ≤ r < c
  for (const c of commonFactors(rest, by)) {
    const s = splitBy(rest, c);
    const low = range(s.rest, sizes);
    if (low.low >= 0 && low.high < c) return add(scale(mod(s.whole, by / c, sizes), c), s.rest);
  }
  return { base: 0, terms: [{ factor: 1, atom: { kind: "mod", of: rest, by } }] };
}

export const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** Proper divisors of `by` that divide at least one term, greatest first. */
function commonFactors(i: Index, by: number): number[] {
  const found = new Set<number>();
  for (const t of i.terms) {
    const c = gcd(Math.abs(t.factor), by);
    if (c > 1 && c < by) found.add(c);
  }
  return [...found].sort((a, b) => b - a);
}

/** The row-major position of `coords` in a tensor of that shape. */
export function flatten(coords: readonly Index[], shape: readonly number[]): Index {
  let out: Index = zero;
  for (let i = 0; i < coords.length; i++) out = shape[i] === 1 ? out : add(scale(out, shape[i]), coords[i]);
  return out;
}

/** Coordinates of the row-major position `flat` in a tensor of that shape. */
export function unflatten(flat: Index, shape: readonly number[], sizes: readonly number[]): Index[] {
  const out = new Array<Index>(shape.length);
  let rest = flat;
  for (let i = shape.length - 1; i >= 0; i--) {
    const last = shape.slice(0, i).every((d) => d === 1);
    out[i] = shape[i] === 1 ? zero : last ? rest : mod(rest, shape[i], sizes);
    if (shape[i] !== 1 && !last) rest = div(rest, shape[i], sizes);
  }
  return out;
}

/** Rewrites every axis variable; used when axes are split or merged. `value` atoms keep their numbers. */
export function substitute(i: Index, axes: (axis: number) => Index, sizes: readonly number[]): Index {
  let out = constant(i.base);
  for (const { factor, atom } of i.terms) {
    let a: Index;
    if (atom.kind === "axis") a = axes(atom.axis);
    else if (atom.kind === "value") a = { base: 0, terms: [{ factor: 1, atom }] };
    else a = (atom.kind === "div" ? div : mod)(substitute(atom.of, axes, sizes), atom.by, sizes);
    out = add(out, scale(a, factor));
  }
  return out;
}

/** Every axis that occurs, also inside divisions. */
export function axesOf(i: Index, into = new Set<number>()): Set<number> {
  for (const { atom } of i.terms) {
    if (atom.kind === "axis") into.add(atom.axis);
    else if (atom.kind !== "value") axesOf(atom.of, into);
  }
  return into;
}
/** Every value that occurs, also inside divisions. */
export function valuesOf(i: Index, into = new Set<number>()): Set<number> {
  for (const { atom } of i.terms) {
    if (atom.kind === "value") into.add(atom.value);
    else if (atom.kind !== "axis") valuesOf(atom.of, into);
  }
  return into;
}

/** The stride of `axis` where the index is affine in it, 0 where it does not occur; `undefined` where it occurs inside a division. */
export function strideOf(i: Index, axis: number): number | undefined {
  let stride = 0;
  for (const { factor, atom } of i.terms) {
    if (atom.kind === "axis") {
      if (atom.axis === axis) stride += factor;
    } else if (atom.kind !== "value" && axesOf(atom.of).has(axis)) return undefined;
  }
  return stride;
}
