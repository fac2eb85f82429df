/**
 * The cheapest way to compute a sum of products: the order of contraction of each term by dynamic programming over subsets of its factors,
 * parts that exist already for nothing.
 */
import type { Node } from "../../graph.ts";
import type { ScopedBuilder } from "../../rewrite.ts";
import { range, sameList } from "../rules/facts.ts";
import { type Plan, planOf } from "./plan.ts";
import type { Prices } from "./prices.ts";
import {
  collected,
  type Expression,
  type Factor,
  factorsKey,
  type Index,
  type Indices,
  permutations,
  sumKey,
  type Term,
  UNIT,
} from "./terms.ts";

/** A computed product: a node and the index of each of its axes, none of them `UNIT`. */
interface Part {
  readonly node: Node;
  readonly axes: readonly Index[];
}

/** Products that are computed anyway, by their keys; axes are numbered as in the key. */
export class Parts {
  private readonly known = new Map<string, { readonly node: Node; readonly axes: readonly number[] }>();

  has(key: string): boolean {
    return this.known.has(key);
  }
  find(key: string, names: ReadonlyMap<Index, number>): Part | undefined {
    const found = this.known.get(key);
    if (!found) return undefined;
    const indexOf = new Map([...names].map(([index, name]) => [name, index]));
    return { node: found.node, axes: found.axes.map((name) => indexOf.get(name)!) };
  }
  add(key: string, names: ReadonlyMap<Index, number>, part: Part): void {
    if (!this.known.has(key)) this.known.set(key, { node: part.node, axes: part.axes.map((index) => names.get(index)!) });
  }

  private readonly sums = new Map<string, { readonly node: Node; readonly coefficient: number }>();

  /** Tells that `node`, of these axes, is the value of a sum of several products. */
  addSum(terms: readonly Term[], axes: readonly Index[], node: Node): void {
    const { key, coefficient } = sumKey(terms, axes);
    if (!this.sums.has(key)) this.sums.set(key, { node, coefficient });
  }
  /** A sum of products that is computed anyway, and what it has to be multiplied by to be this one. */
  findSum(terms: readonly Term[], kept: readonly Index[]): { readonly part: Part; readonly times: number } | undefined {
    if (this.sums.size === 0 || kept.length > MOST_KEPT) return undefined;
    for (const axes of permutations(kept)) {
      const { key, coefficient } = sumKey(terms, axes);
      const found = this.sums.get(key);
      if (found) return { part: { node: found.node, axes }, times: coefficient / found.coefficient };
    }
    return undefined;
  }
}

/** Sums of more axes are not looked for: all orders of them are tried. */
const MOST_KEPT = 3;

const sameFactor = (f: Factor, g: Factor): boolean => f.node === g.node && sameList(f.axes, g.axes);

/** Factors that all terms have. */
function commonFactors(terms: readonly Term[]): Factor[] {
  const [first, ...others] = terms;
  const left = others.map((t) => [...t.factors]);
  return first.factors.filter((f) => {
    const places = left.map((factors) => factors.findIndex((g) => sameFactor(f, g)));
    if (places.some((at) => at < 0)) return false;
    places.forEach((at, i) => {
      left[i].splice(at, 1);
    });
    return true;
  });
}

function without(t: Term, gone: readonly Factor[]): Term {
  const factors = [...t.factors];
  for (const f of gone)
    factors.splice(
      factors.findIndex((g) => sameFactor(f, g)),
      1,
    );
  return { ...t, factors };
}

/** The lists that leave out some of a short list, the longest first; the empty one is not among them. */
function subsets(list: readonly Factor[]): Factor[][] {
  if (list.length > 4) return [[...list]];
  const masks = range(1 << list.length).filter((mask) => mask > 0);
  const count = (mask: number) => list.filter((_, i) => mask & (1 << i)).length;
  return masks.sort((a, b) => count(b) - count(a)).map((mask) => list.filter((_, i) => mask & (1 << i)));
}

export class Contraction {
  constructor(
    private readonly b: ScopedBuilder,
    private readonly indices: Indices,
    private readonly parts: Parts,
    private readonly prices: Prices,
  ) {}

  /** A node that computes the expression, of the shape given. */
  build(expression: Expression, shape: readonly number[]): Node {
    const terms = collected(expression.terms, expression.out);
    const { out } = expression;
    if (terms.length < 2) return terms.length === 0 ? this.b.constant(0, "f32", shape) : this.term(terms[0], out, shape);
    const common = commonFactors(terms);
    const known = this.knownSum(terms, common, out);
    if (known) return this.term(known, out, shape);
    // what all terms are scaled by scales their sum, a row scale of a weight, say; and so does the number of the one with fewest factors
    const scales = common.filter((f) => f.axes.every((index) => index === UNIT || out.includes(index)));
    const { coefficient } = terms.reduce((a, t) => (t.factors.length < a.factors.length ? t : a));
    const rest = terms.map((t) => ({ ...without(t, scales), coefficient: t.coefficient / coefficient }));
    const whole = rest.every((t) => out.every((index) => index === UNIT || t.factors.some((f) => f.axes.includes(index))));
    if ((scales.length === 0 && Math.abs(coefficient) === 1) || !whole) return this.sum(terms, out, shape);
    const sum = this.sum(rest, out, shape);
    const axes = out.filter((index) => index !== UNIT);
    this.parts.addSum(
      rest,
      axes,
      this.b.reshape(
        sum,
        axes.map((index) => this.indices.sizes[index]),
      ),
    );
    return this.b.mul(sum, this.term({ coefficient, factors: scales }, out, shape));
  }

  private sum(terms: readonly Term[], out: readonly Index[], shape: readonly number[]): Node {
    let sum: Node | undefined;
    for (const t of terms) {
      const negative = sum !== undefined && t.coefficient < 0;
      const one = this.term(negative ? { ...t, coefficient: -t.coefficient } : t, out, shape);
      sum = sum ? (negative ? this.b.sub(sum, one) : this.b.add(sum, one)) : one;
    }
    return sum!;
  }

  /** The terms as one, where without what is common to them they are a sum that is computed anyway. */
  private knownSum(terms: readonly Term[], common: readonly Factor[], out: readonly Index[]): Term | undefined {
    for (const gone of subsets(common)) {
      const rest = terms.map((t) => without(t, gone));
      const outside = new Set([...out, ...gone.flatMap((f) => f.axes)]);
      const kept = [...new Set(rest.flatMap((t) => t.factors.flatMap((f) => f.axes)))].filter(
        (index) => index !== UNIT && outside.has(index),
      );
      const known = this.parts.findSum(rest, kept);
      if (known) return { coefficient: known.times, factors: [...gone, { node: known.part.node, axes: known.part.axes }] };
    }
    return undefined;
  }

  /** Tells that `node` is the value of an expression, if that is a single product. */
  register(expression: Expression, node: Node): void {
    const terms = collected(expression.terms, expression.out);
    const axes = expression.out.filter((index) => index !== UNIT);
    if (terms.length !== 1 || terms[0].coefficient !== 1) return;
    const { factors } = terms[0];
    if (!axes.every((index) => factors.some((f) => f.axes.includes(index)))) return;
    const { key, names } = factorsKey(factors, new Set(axes));
    const flat = this.b.reshape(
      node,
      axes.map((index) => this.indices.sizes[index]),
    );
    this.parts.add(key, names, { node: flat, axes });
  }

  private size(axes: readonly Index[]): number {
    return axes.reduce((p, index) => p * this.indices.sizes[index], 1);
  }

  private term(t: Term, out: readonly Index[], shape: readonly number[]): Node {
    const { b } = this;
    if (t.factors.length === 0) return b.constant(t.coefficient, "f32", shape);
    const plan = planOf(t, out, this.indices.sizes, this.parts, this.prices);
    const all = (1 << t.factors.length) - 1;
    const scaleAt = t.coefficient === 1 ? 0 : this.cheapest(plan, all);
    const part = this.join(all, t, plan, scaleAt, out);
    // Into the order of the result; axes that the term does not have come in with size 1 and are repeated.
    const wanted = out.filter((index) => part.axes.includes(index));
    const ordered = b.permute(
      part.node,
      wanted.map((index) => part.axes.indexOf(index)),
    );
    const thin = out.map((index, i) => (index !== UNIT && part.axes.includes(index) ? shape[i] : 1));
    return b.expand(b.reshape(ordered, thin), shape);
  }

  /** Where a number is multiplied in: the smallest of the intermediate results on the plan, or the whole. */
  private cheapest(plan: Plan, all: number): number {
    let best = all;
    const visit = (s: number): void => {
      if (plan.split[s] === 0) return;
      if (plan.size(s) < plan.size(best)) best = s;
      visit(plan.split[s]);
      visit(s ^ plan.split[s]);
    };
    visit(all);
    return best;
  }

  /** Computes a subset of the factors; `scaleAt` is the subset whose value is to be multiplied by the coefficient, 0 for none. */
  private join(s: number, t: Term, plan: Plan, scaleAt: number, out: readonly Index[]): Part {
    const scaled = scaleAt !== 0 && (s & scaleAt) === scaleAt;
    if (!scaled) return this.plain(s, t, plan, out);
    if (s === scaleAt) {
      const part = this.plain(s, t, plan, out);
      const { node } = part;
      const times = t.coefficient === -1 ? this.b.neg(node) : this.b.mul(node, this.b.constant(t.coefficient, "f32", node.type.shape));
      return { node: times, axes: part.axes };
    }
    const a = plan.split[s];
    const c = s ^ a;
    return this.joined(
      this.join(a, t, plan, scaleAt, out),
      this.join(c, t, plan, scaleAt, out),
      plan.kept(s),
      out,
      plan.split.length - 1 === s,
    );
  }

  private plain(s: number, t: Term, plan: Plan, out: readonly Index[]): Part {
    const { key, names } = plan.key(s);
    const known = this.parts.find(key, names);
    if (known) return known;
    const a = plan.split[s];
    const part =
      a === 0
        ? this.single(t.factors[Math.log2(s)], plan.kept(s))
        : this.joined(this.plain(a, t, plan, out), this.plain(s ^ a, t, plan, out), plan.kept(s), out, plan.split.length - 1 === s);
    this.parts.add(key, names, part);
    return part;
  }

  /** A factor without its axes of size 1, summed over indices that nothing else has. */
  private single(f: Factor, kept: readonly Index[]): Part {
    const axes = f.axes.filter((index) => index !== UNIT);
    const flat = this.b.reshape(
      f.node,
      axes.map((index) => this.indices.sizes[index]),
    );
    const gone = range(axes.length).filter((i) => !kept.includes(axes[i]));
    if (gone.length === 0) return { node: flat, axes };
    return { node: this.b.reduce("sum", flat, gone), axes: axes.filter((index) => kept.includes(index)) };
  }

  private joined(p: Part, q: Part, kept: readonly Index[], out: readonly Index[], last: boolean): Part {
    const shared = p.axes.filter((index) => q.axes.includes(index));
    const contracted = shared.filter((index) => !kept.includes(index));
    if (contracted.length === 0) return this.elementwise(p, q);
    const [l, r] = last ? this.inOrder(p, q, out) : this.largerLeft(p, q);
    const free = (x: Part) => x.axes.filter((index) => !shared.includes(index));
    const batch = shared.filter((index) => kept.includes(index));
    if (free(l).length === 0 && free(r).length === 0) {
      const product = this.elementwise(l, r);
      const axes = range(product.axes.length).filter((i) => contracted.includes(product.axes[i]));
      return { node: this.b.reduce("sum", product.node, axes), axes: product.axes.filter((index) => !contracted.includes(index)) };
    }
    const places = (x: Part, list: readonly Index[]) => list.map((index) => x.axes.indexOf(index));
    const node = this.b.dot(l.node, r.node, {
      lhsBatch: places(l, batch),
      rhsBatch: places(r, batch),
      lhsContract: places(l, contracted),
      rhsContract: places(r, contracted),
    });
    return { node, axes: [...batch, ...free(l), ...free(r)] };
  }

  /** The operand whose free axes come earlier in the result stands left, so that few results need turning. */
  private inOrder(p: Part, q: Part, out: readonly Index[]): [Part, Part] {
    const place = (x: Part, y: Part) => {
      const free = x.axes.filter((index) => !y.axes.includes(index)).map((index) => out.indexOf(index));
      const known = free.filter((at) => at >= 0);
      return known.length ? Math.min(...known) : out.length;
    };
    return place(q, p) < place(p, q) ? [q, p] : [p, q];
  }

  /** What grows with the batch stands left, as in x·W; of equals the larger. */
  private largerLeft(p: Part, q: Part): [Part, Part] {
    const [a, c] = [this.prices.level(p.node), this.prices.level(q.node)];
    return c > a || (c === a && this.size(q.axes) > this.size(p.axes)) ? [q, p] : [p, q];
  }

  private elementwise(p: Part, q: Part): Part {
    const [l, r] = p.axes.length >= q.axes.length ? [p, q] : [q, p];
    const extra = r.axes.filter((index) => !l.axes.includes(index));
    const axes = [...l.axes, ...extra];
    const shape = axes.map((index) => this.indices.sizes[index]);
    return { node: this.b.mul(this.spread(l, axes, shape), this.spread(r, axes, shape)), axes };
  }

  private spread(p: Part, axes: readonly Index[], shape: readonly number[]): Node {
    const order = axes.filter((index) => p.axes.includes(index)).map((index) => p.axes.indexOf(index));
    const thin = axes.map((index, i) => (p.axes.includes(index) ? shape[i] : 1));
    const ordered = sameList(order, range(order.length)) ? p.node : this.b.permute(p.node, order);
    return this.b.expand(this.b.reshape(ordered, thin), shape);
  }
}
