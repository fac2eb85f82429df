/**
 * Products whose right side is unpacked while it is packed: numbers of few bits share a word, and blocks of them a scale. An axis of such a value is cut at the
 * places where words and blocks begin, so that a printer loads a word and works out a scale once, not once an element.
 */
import { add, axesOf, axisIndex, gcd, type Index, keyOf, scale, shift, substitute, zero } from "./index.ts";
import { needed, type ProductKernel, type Value } from "./kernel.ts";

/** Places of the sum: `outer · long + inner · roots.length + c` is what `roots[c]` gives the value at. */
export interface Along {
  /** Stretches of so many places, and the axis of their number. Without it `inner` runs over the whole sum. */
  readonly outer?: { readonly axis: number; readonly long: number } | undefined;
  readonly inner: number;
  readonly roots: readonly number[];
}
/** Columns: `outer · long + inner`, at which `root` gives the value. */
export interface Across {
  readonly outer: number;
  readonly inner: number;
  readonly long: number;
  readonly root: number;
}
export interface Stretched {
  /** With further values and axes, which nothing else uses. */
  readonly kernel: ProductKernel;
  readonly along?: Along;
  readonly across?: Across;
}

/** So many places of a sum at most are spelt out one by one. */
const SPELT = 16;
/** Blocks of products begin at multiples of this, along the sum where they are packed in pieces, and across it where there are columns enough. */
export const LONG = 64;
/** Columns of a panel. */
const PANEL = 8;

/** What an axis by itself is divided by anywhere in an index, ascending. */
function periodsOf(values: readonly Value[], root: number, axis: number): number[] {
  const found = new Set<number>();
  const look = (i: Index) => {
    for (const { atom } of i.terms) {
      if (atom.kind !== "div" && atom.kind !== "mod") continue;
      if (keyOf(atom.of) === keyOf(axisIndex(axis))) found.add(atom.by);
      else if (axesOf(atom.of).has(axis)) look(atom.of);
    }
  };
  for (const v of needed(values, [root])) {
    const value = values[v];
    if (value.kind === "load" || value.kind === "index") look(value.index);
  }
  return [...found].sort((a, b) => a - b);
}

/** Adds copies of what a root needs, with other indices; equal ones are one. */
class Copies {
  readonly values: Value[];
  private readonly seen = new Map<string, number>();
  constructor(given: readonly Value[]) {
    this.values = [...given];
  }
  of(root: number, moved: (i: Index) => Index): number {
    const at = new Map<number, number>();
    const through = (i: Index): Index => ({
      base: i.base,
      terms: i.terms.map(({ factor, atom }) => {
        if (atom.kind === "value") return { factor, atom: { ...atom, value: at.get(atom.value)! } };
        return { factor, atom: atom.kind === "axis" ? atom : { ...atom, of: through(atom.of) } };
      }),
    });
    for (const v of needed(this.values, [root])) {
      const value = this.values[v];
      let copy = value;
      if (value.kind === "index") copy = { ...value, index: through(moved(value.index)) };
      else if (value.kind === "load")
        copy = { ...value, index: through(moved(value.index)), ...(value.guard !== undefined && { guard: at.get(value.guard)! }) };
      else if (value.kind === "call") copy = { ...value, args: value.args.map((a) => at.get(a)!) };
      const key = JSON.stringify("index" in copy ? { ...copy, index: keyOf(copy.index) } : copy, (_, x) =>
        typeof x === "number" && !Number.isFinite(x) ? String(x) : x,
      );
      let number = this.seen.get(key);
      if (number === undefined) {
        number = this.values.push(copy) - 1;
        this.seen.set(key, number);
      }
      at.set(v, number);
    }
    return at.get(root)!;
  }
}

/** `columns`: blocks of columns begin at multiples of it. */
export function stretched(kernel: ProductKernel, columns: number): Stretched {
  const { values, rhs, axes } = kernel;
  if (values[rhs].kind === "load") return { kernel };
  const [, , n, k] = axes;
  const [outer, inner] = [axes.length, axes.length + 1];
  const copies = new Copies(values);
  const withAxes = (first: number, second: number): ProductKernel => ({ ...kernel, values: copies.values, axes: [...axes, first, second] });
  const moving = (axis: number, to: Index, first: number, second: number) => (i: Index) =>
    substitute(i, (a) => (a === axis ? to : axisIndex(a)), [...axes, first, second]);

  const [short, ...longer] = periodsOf(values, rhs, 3);
  if (short !== undefined) {
    const count = gcd(short, SPELT);
    const next = longer.find((p) => p % count === 0 && gcd(p, LONG) > count);
    const long = next === undefined ? k : gcd(next, LONG);
    const whole = k % long === 0 ? long : k;
    if (count > 1 && k % count === 0) {
      const [first, second] = [k / whole, whole / count];
      const place = add(whole === k ? zero : scale(axisIndex(outer), whole), scale(axisIndex(inner), count));
      const roots = Array.from({ length: count }, (_, c) => copies.of(rhs, moving(3, shift(place, c), first, second)));
      return {
        kernel: withAxes(first, second),
        along: { inner, roots, outer: whole === k ? undefined : { axis: outer, long: whole } },
      };
    }
  }
  const across = periodsOf(values, rhs, 2);
  const long = across.reduce((most, p) => Math.max(most, gcd(p, gcd(LONG, columns))), 0);
  if (long >= PANEL && n % long === 0) {
    const place = add(scale(axisIndex(outer), long), axisIndex(inner));
    const root = copies.of(rhs, moving(2, place, n / long, long));
    return { kernel: withAxes(n / long, long), across: { outer, inner, long, root } };
  }
  return { kernel };
}
