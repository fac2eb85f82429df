/**
 * Linear algebra as sums of products over named indices: an expression of contractions, scalings, sums and movement becomes a list of
 * terms, each a number times factors, each factor a node with a name for each axis. An index that the result does not have is summed over.
 */
import { type Node, sizes } from "../../graph.ts";
import { axesOfDot, isExpand, isNeg, isReshape, permuteOrder, rowOf, summedAxes } from "../../ops/index.ts";
import type { ScopedBuilder } from "../../rewrite.ts";
import { constantAxes, isMinus, isPlus, isTimes, range, splat, unitReshape } from "../rules/facts.ts";
import { thinned } from "../rules/maps.ts";

/** An index's number, or `UNIT` for an axis of size 1, which needs none. */
export type Index = number;
export const UNIT: Index = -1;

export interface Factor {
  readonly node: Node;
  readonly axes: readonly Index[];
}
export interface Term {
  readonly coefficient: number;
  readonly factors: readonly Factor[];
}
export interface Expression {
  /** The result's axes; an index that no factor of a term has is one along which the term repeats. */
  readonly out: readonly Index[];
  readonly terms: readonly Term[];
  /** Nodes that the terms go through: they need not exist if all that read them are written so. */
  readonly opened: readonly Node[];
}

/** Sizes of the indices of one expression. */
export class Indices {
  readonly sizes: number[] = [];
  fresh(size: number): Index {
    return size === 1 ? UNIT : this.sizes.push(size) - 1;
  }
}

const MOST_FACTORS = 8;
const MOST_TERMS = 16;
/** Indices of one term: they are bits of a number. */
const MOST_INDICES = 30;

export interface Opening {
  /** Whether a sum is written as several terms. */
  distributes(n: Node): boolean;
  readonly b: ScopedBuilder;
}

/** The node as a sum of products. The node itself is opened if its op can be; what lies below by the rules of this file. */
export function expressionOf(n: Node, opening: Opening, indices: Indices): Expression {
  const out = sizes(n).map((d) => indices.fresh(d));
  const opened: Node[] = [];
  const terms = new Opener(opening, indices).open(n, out, false, opened) ?? [leaf(n, out)];
  return { out, terms, opened };
}

const leaf = (node: Node, axes: readonly Index[]): Term => ({ coefficient: 1, factors: [{ node, axes }] });

class Opener {
  constructor(
    private readonly opening: Opening,
    private readonly indices: Indices,
  ) {}

  /** The terms of `n`, opened or as it is. */
  private terms(n: Node, out: readonly Index[], summed: boolean, opened: Node[]): readonly Term[] {
    const value = splat(n);
    if (value !== undefined) return [{ coefficient: value, factors: [] }];
    return this.open(n, out, summed, opened) ?? [leaf(n, out)];
  }

  /**
   * `undefined` if the node is a leaf. `summed`: only sums and movement lie between this node and a sum over axes, so that a product of
   * two full operands is a contraction.
   */
  open(n: Node, out: readonly Index[], summed: boolean, opened: Node[]): readonly Term[] | undefined {
    if (n.type.dtype !== "f32" || n.loop) return undefined;
    const mine: Node[] = [n];
    const terms = this.opened(n, out, summed, mine);
    if (terms) opened.push(...mine);
    return terms;
  }

  private opened(n: Node, out: readonly Index[], summed: boolean, opened: Node[]): readonly Term[] | undefined {
    const [x, y] = n.inputs;
    const dot = axesOfDot(n);
    if (dot) {
      const nb = dot.lhsBatch.length;
      const nl = dot.lhsFree.length;
      const left = new Array<Index>(x.type.shape.length);
      const right = new Array<Index>(y.type.shape.length);
      dot.lhsBatch.forEach((a, i) => {
        left[a] = out[i];
        right[dot.rhsBatch[i]] = out[i];
      });
      dot.lhsFree.forEach((a, i) => {
        left[a] = out[nb + i];
      });
      dot.rhsFree.forEach((a, i) => {
        right[a] = out[nb + nl + i];
      });
      dot.lhsContract.forEach((a, i) => {
        const k = this.indices.fresh(sizes(x)[a]);
        left[a] = k;
        right[dot.rhsContract[i]] = k;
      });
      const terms = this.product(x, left, y, right, false, opened);
      return terms && this.summedOver(terms, left, dot.lhsContract);
    }
    const over = summedAxes(n);
    if (over) {
      let k = 0;
      const inner = sizes(x).map((d, i) => (over.includes(i) ? this.indices.fresh(d) : out[k++]));
      return this.summedOver(this.terms(x, inner, true, opened), inner, over);
    }
    const order = permuteOrder(n);
    if (order) {
      const inner = new Array<Index>(order.length);
      order.forEach((a, i) => {
        inner[a] = out[i];
      });
      return this.terms(x, inner, summed, opened);
    }
    if (isExpand(n)) {
      const from = sizes(x);
      return this.terms(
        x,
        out.map((index, i) => (from[i] === 1 ? UNIT : index)),
        summed,
        opened,
      );
    }
    if (isReshape(n)) {
      const map = unitReshape(sizes(x), sizes(n));
      if (!map) return undefined;
      const inner = sizes(x).map((_, axis) => (map.includes(axis) ? out[map.indexOf(axis)] : UNIT));
      return this.terms(x, inner, summed, opened);
    }
    if (isNeg(n)) return this.terms(x, out, summed, opened).map((t) => ({ ...t, coefficient: -t.coefficient }));
    if (isTimes(n)) {
      const thin = splat(y) !== undefined || constantAxes(x).size > 0 || constantAxes(y).size > 0;
      return thin || summed ? this.product(x, out, y, out, summed, opened) : undefined;
    }
    if (rowOf(n).role === "scale" && n.inputs.length === 2) {
      const axes = constantAxes(y);
      if (axes.size === 0) return undefined;
      const below = thinned(this.opening.b, y, [...axes]);
      const reciprocal = this.opening.b.div(1, below);
      const factor = leaf(
        reciprocal,
        out.map((index, i) => (axes.has(i) ? UNIT : index)),
      );
      return this.multiplied(this.terms(x, out, summed, opened), [factor]);
    }
    if ((isPlus(n) || isMinus(n)) && this.opening.distributes(n)) {
      const left = this.terms(x, out, summed, opened);
      const right = this.terms(y, out, summed, opened);
      if (left.length + right.length > MOST_TERMS) return undefined;
      return [...left, ...(isMinus(n) ? right.map((t) => ({ ...t, coefficient: -t.coefficient })) : right)];
    }
    return undefined;
  }

  /** The product of two operands; where that is too large, the larger one stays a leaf, and then the other. */
  private product(
    x: Node,
    left: readonly Index[],
    y: Node,
    right: readonly Index[],
    summed: boolean,
    opened: Node[],
  ): readonly Term[] | undefined {
    const [p, q]: Node[][] = [[], []];
    let a = this.terms(x, left, summed, p);
    let b = this.terms(y, right, summed, q);
    let both = this.multiplied(a, b);
    if (!both) {
      if (weight(a) >= weight(b)) {
        a = [leaf(x, left)];
        p.length = 0;
      } else {
        b = [leaf(y, right)];
        q.length = 0;
      }
      both = this.multiplied(a, b);
    }
    if (!both) {
      p.length = 0;
      q.length = 0;
      both = this.multiplied([leaf(x, left)], [leaf(y, right)]);
    }
    opened.push(...p, ...q);
    return both;
  }

  /** Opened operands never share a summed index, since each opening makes fresh ones. */
  private multiplied(a: readonly Term[], b: readonly Term[]): readonly Term[] | undefined {
    if (a.length * b.length > MOST_TERMS) return undefined;
    const out: Term[] = [];
    for (const s of a)
      for (const t of b) {
        const factors = [...s.factors, ...t.factors];
        if (factors.length > MOST_FACTORS || new Set(factors.flatMap((f) => f.axes)).size > MOST_INDICES) return undefined;
        out.push({ coefficient: s.coefficient * t.coefficient, factors });
      }
    return out;
  }

  /** A term that does not have a summed index is as many times as large. */
  private summedOver(terms: readonly Term[], inner: readonly Index[], over: readonly number[]): readonly Term[] {
    return terms.map((t) => {
      let { coefficient } = t;
      for (const axis of over) {
        const index = inner[axis];
        if (index !== UNIT && !t.factors.some((f) => f.axes.includes(index))) coefficient *= this.indices.sizes[index];
      }
      return { ...t, coefficient };
    });
  }
}

const weight = (terms: readonly Term[]): number => terms.reduce((n, t) => n + 1 + t.factors.length, 0);

/** Text that equals for equal products up to the names of summed indices; `names` numbers them in the order they are met. */
export function factorsKey(factors: readonly Factor[], kept: ReadonlySet<Index>): { key: string; names: ReadonlyMap<Index, number> } {
  const sorted = [...factors].sort((f, g) => f.node.id - g.node.id || (f.axes.join() < g.axes.join() ? -1 : 1));
  const names = new Map<Index, number>();
  const name = (index: Index): string => {
    if (index === UNIT) return "";
    if (!names.has(index)) names.set(index, names.size);
    return String(names.get(index));
  };
  const text = sorted.map((f) => `${f.node.id}[${f.axes.map(name).join()}]`).join("");
  const open = [...names].filter(([index]) => kept.has(index)).map(([, k]) => k);
  return { key: `${text}->${open.join()}`, names };
}

/** Terms that differ in their coefficient alone become one; zeros go. `out` tells terms apart by which axis of the result is which. */
export function collected(terms: readonly Term[], out: readonly Index[]): readonly Term[] {
  const found = new Map<string, Term>();
  for (const t of terms) {
    const key = [...signatures(t, out)].sort()[0];
    const known = found.get(key);
    found.set(key, known ? { ...known, coefficient: known.coefficient + t.coefficient } : t);
  }
  return [...found.values()].filter((t) => t.coefficient !== 0);
}

/** Keys of the term with its factors in each order that equal nodes allow; indices of the result keep their names. */
function signatures(t: Term, out: readonly Index[]): Set<string> {
  const fixed = new Set(out);
  const sorted = [...t.factors].sort((f, g) => f.node.id - g.node.id);
  const keys = new Set<string>();
  for (const factors of orders(sorted)) {
    const names = new Map<Index, number>();
    const name = (index: Index): string => {
      if (index === UNIT) return "";
      if (fixed.has(index)) return `o${out.indexOf(index)}`;
      if (!names.has(index)) names.set(index, names.size);
      return `s${names.get(index)}`;
    };
    keys.add(factors.map((f) => `${f.node.id}[${f.axes.map(name).join()}]`).join(""));
  }
  return keys;
}

/** The list, with runs of equal nodes in every order (of short runs). */
function orders(factors: readonly Factor[]): readonly (readonly Factor[])[] {
  let out: (readonly Factor[])[] = [[]];
  for (let i = 0; i < factors.length; ) {
    let j = i;
    while (j < factors.length && factors[j].node === factors[i].node) j++;
    const run = factors.slice(i, j);
    const variants = run.length <= 3 ? permutations(range(run.length)).map((p) => p.map((k) => run[k])) : [run];
    out = out.flatMap((o) => variants.map((v) => [...o, ...v]));
    i = j;
  }
  return out;
}

/** Text that equals for sums of equal products over these axes, up to the names of summed indices and a number that all are multiplied by. */
export function sumKey(terms: readonly Term[], axes: readonly Index[]): { readonly key: string; readonly coefficient: number } {
  const keyed = terms.map((t) => ({ key: [...signatures(t, axes)].sort()[0], coefficient: t.coefficient }));
  keyed.sort((a, b) => (a.key < b.key ? -1 : 1));
  const [{ coefficient }] = keyed;
  return { key: keyed.map((t) => `${t.coefficient / coefficient} ${t.key}`).join("+"), coefficient };
}

export function permutations(list: readonly number[]): number[][] {
  if (list.length <= 1) return [[...list]];
  return list.flatMap((x, i) => permutations([...list.slice(0, i), ...list.slice(i + 1)]).map((p) => [x, ...p]));
}
