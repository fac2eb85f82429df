/**
 * What couples the carried values of a loop: each value that an iteration carries out is c·a + f, where a is one that it carries in and f may be
 * recomputed once others are known. Then the iteration can be run backwards, whatever f is.
 */
import { Builder } from "../build.ts";
import { type Body, type Node, node, order } from "../graph.ts";
import type { Blocked } from "../loops/invert.ts";
import { LARGEST_TERM, type Ratio, rowOf, splatOf } from "../ops/index.ts";

/** A carried-out value as c·a + f. */
export interface Coupling {
  /** The place among the carried values of a. */
  readonly from: number;
  /** c without its sign. */
  readonly ratio: Ratio;
  readonly negative: boolean;
  /** f; absent where the value only passes through. */
  readonly rest: Node | undefined;
}

/** One summand: `scale`·`leaf`, and the way to it. */
interface Term {
  readonly leaf: Node;
  readonly scale: number;
  readonly way: readonly number[];
}

const isSum = (n: Node): boolean => rowOf(n).role === "sum";
/** The fixed factor of a node that scales its first operand, or one of two. */
function factorOf(n: Node): { factor: number; of: number } | undefined {
  const row = rowOf(n);
  if (row.role !== "scale") return undefined;
  if (n.inputs.length === 1) return { factor: -1, of: 0 };
  for (const [of, other] of row.algebra?.commutative
    ? [
        [0, 1],
        [1, 0],
      ]
    : [[0, 1]]) {
    const value = splatOf(n.inputs[other]);
    if (typeof value === "number") return { factor: row.algebra?.commutative ? value : 1 / value, of };
  }
  return undefined;
}

/** The summands of a value; `stop`: nodes that are not taken apart. */
function termsOf(root: Node, stop: ReadonlySet<Node>): Term[] {
  const out: Term[] = [];
  const visit = (n: Node, scale: number, way: readonly number[]): void => {
    const scaled = n === root || !stop.has(n) ? factorOf(n) : undefined;
    if (n !== root && stop.has(n)) out.push({ leaf: n, scale, way });
    else if (isSum(n)) n.inputs.forEach((x, i) => visit(x, i === 1 && !rowOf(n).algebra?.commutative ? -scale : scale, [...way, i]));
    else if (scaled) visit(n.inputs[scaled.of], scale * scaled.factor, [...way, scaled.of]);
    else out.push({ leaf: n, scale, way });
  };
  visit(root, 1, []);
  return out;
}

/** The value without one of its summands; `undefined` if nothing is left. */
function without(n: Node, way: readonly number[]): Node | undefined {
  if (way.length === 0) return undefined;
  const [at, ...on] = way;
  const left = without(n.inputs[at], on);
  const b = new Builder(n.origin);
  if (!isSum(n))
    return (
      left &&
      node(
        n.op,
        n.inputs.map((x, i) => (i === at ? left : x)),
        n.attrs,
        n.type,
        n.origin,
      )
    );
  const other = n.inputs[1 - at];
  const minus = !rowOf(n).algebra?.commutative;
  if (!left) return minus && at === 0 ? b.neg(other) : other;
  return node(n.op, at === 0 ? [left, other] : [other, left], n.attrs, n.type, n.origin);
}

/** A factor as a ratio of small whole numbers, to the precision of f32; `undefined` if it is none. */
function ratioFor(factor: number): Ratio | undefined {
  const c = Math.abs(factor);
  if (!(c > 0) || !Number.isFinite(c)) return undefined;
  let [p0, q0, p1, q1] = [0, 1, 1, 0];
  for (let x = c; ; x = 1 / (x - Math.floor(x))) {
    const a = Math.floor(x);
    [p0, q0, p1, q1] = [p1, q1, a * p1 + p0, a * q1 + q0];
    if (p1 > LARGEST_TERM || q1 > LARGEST_TERM) return undefined;
    if (p1 > 0 && Math.abs(p1 / q1 - c) <= c * 2 ** -26) return { num: p1, den: q1 };
    if (x === a) return undefined;
  }
}

/** Which carried parameters and results a value depends on, not looking below these. */
function reads(n: Node, stop: ReadonlySet<Node>): Set<Node> {
  const out = new Set<Node>();
  const seen = new Set<Node>();
  const stack = [n];
  while (stack.length) {
    const x = stack.pop()!;
    if (seen.has(x)) continue;
    seen.add(x);
    if (stop.has(x)) out.add(x);
    else stack.push(...x.inputs);
  }
  return out;
}

/** The couplings of a body, by carried-out value, such that all that is carried in follows from what is carried out; or what prevents it. */
export function couplingsOf(body: Body, carried: number): readonly Coupling[] | Blocked {
  const params = body.params.slice(0, carried);
  const results = body.results.slice(0, carried);
  const stop = new Set<Node>([...params, ...results]);
  const place = new Map(params.map((p, i) => [p, i]));
  const found = new Map<number, Coupling>();
  const known = new Set<Node>(results);
  for (const [k, r] of results.entries()) {
    const from = place.get(r);
    if (from !== undefined) found.set(k, { from, ratio: { num: 1, den: 1 }, negative: false, rest: undefined });
  }
  const taken = (j: number) => [...found.values()].some((c) => c.from === j);
  const below = new Map<Node, ReadonlySet<Node>>();
  const readsOf = (n: Node): ReadonlySet<Node> => {
    if (!below.has(n)) below.set(n, reads(n, stop));
    return below.get(n)!;
  };
  let blocked: Blocked | undefined;
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    for (const [k, r] of results.entries()) {
      if (found.has(k)) continue;
      const terms = termsOf(r, stop);
      for (const term of terms) {
        const from = place.get(term.leaf);
        if (from === undefined || known.has(term.leaf) || taken(from)) continue;
        const rest = terms.filter((t) => t !== term);
        const open = rest.flatMap((t) => [...readsOf(t.leaf)]).filter((x) => !known.has(x));
        if (open.length > 0) {
          blocked = { at: r, why: "both sides depend on what is carried in" };
          continue;
        }
        const ratio = ratioFor(term.scale);
        if (!ratio) {
          blocked = { at: r, why: term.scale === 0 ? "the factor is 0" : `the factor ${term.scale} is no ratio of small whole numbers` };
          continue;
        }
        found.set(k, { from, ratio, negative: term.scale < 0, rest: without(r, term.way) });
        known.add(term.leaf);
        break;
      }
    }
  }
  if (found.size === carried) return results.map((_, k) => found.get(k)!);
  if (blocked) return blocked;
  const open = results.filter((_, k) => !found.has(k));
  const at = open[0];
  const carriedIn = (n: Node): Node[] => [...readsOf(n), ...n.inputs.flatMap((x) => [...readsOf(x)])].filter((x) => place.has(x));
  const scaled = order([at]).find((n) => rowOf(n).role === "scale" && n.inputs.some((x) => params.includes(x)) && !factorOf(n));
  const part = open.find((n) => carriedIn(n).some((x) => !taken(place.get(x)!) && sizeOf(n) < sizeOf(x)));
  if (part) return { at: part, why: "only a part of what is carried goes on" };
  if (scaled) return { at: scaled, why: "the factor is no static number" };
  return { at, why: carriedIn(at).length > 0 ? `${at.op} cannot be undone` : "nothing that is carried out depends on this value" };
}
const sizeOf = ({ type }: Node): number => (type.shape as readonly number[]).reduce((p, d) => p * d, 1);

/** The same factors for a body that is not to be run backwards, whose summands may hide where a is: f is what is left of the value. */
export function couplingsLike(body: Body, carried: number, like: readonly Coupling[]): readonly Coupling[] {
  const params = body.params.slice(0, carried);
  const results = body.results.slice(0, carried);
  const stop = new Set<Node>([...params, ...results]);
  const used = new Set(order(body.results));
  return results.map((r, k): Coupling => {
    const passed = params.indexOf(r);
    if (passed >= 0) return { from: passed, ratio: { num: 1, den: 1 }, negative: false, rest: undefined };
    const { ratio, negative } = like[k];
    const scale = (negative ? -ratio.num : ratio.num) / ratio.den;
    const same = (t: Term) => params.includes(t.leaf) && Math.abs(t.scale - scale) <= Math.abs(scale) * 2 ** -26;
    const term = termsOf(r, stop).find(same);
    if (term) return { from: params.indexOf(term.leaf), ratio, negative, rest: without(r, term.way) };
    const b = new Builder(r.origin);
    const fits = (p: Node) => used.has(p) && String(p.type.shape) === String(r.type.shape);
    // the value as another node: this one stands for what the coupling gives
    const itself = node(r.op, r.inputs, r.attrs, r.type, r.origin, r.loop);
    const from = Math.max(0, params.findIndex(fits));
    return { from, ratio, negative, rest: b.sub(itself, b.mul(params[from], scale)) };
  });
}

/**
 * By which factor carried values grow from iteration to iteration where nothing but sums and fixed factors is on the way: 1 and more lets them grow without
 * end, as residuals that no norm ends do. The largest eigenvalue of what passes through, by power iteration.
 */
export function passingThrough(body: Body, carried: number): number {
  const params = body.params.slice(0, carried);
  const results = body.results.slice(0, carried);
  const stop = new Set<Node>([...params, ...results]);
  const shares = new Map<Node, number[]>();
  const shareOf = (r: Node): number[] => {
    let share = shares.get(r);
    if (!share) {
      share = params.map((p) => Number(p === r));
      shares.set(r, share);
      if (!params.includes(r))
        for (const t of termsOf(r, stop)) {
          const from = stop.has(t.leaf) ? shareOf(t.leaf) : params.map(() => 0);
          share.forEach((_, j) => (share![j] += Math.abs(t.scale) * from[j]));
        }
    }
    return share;
  };
  // what an iteration leaves as it is adds nothing
  const matrix = results.map((r, k) => (r === params[k] ? params.map(() => 0) : shareOf(r)));
  let values: number[] = params.map(() => 1);
  let grown = 0;
  const rounds = 40;
  for (let i = 0; i < rounds; i++) {
    values = matrix.map((row) => row.reduce((sum, m, j) => sum + m * values[j], 0));
    const most = Math.max(...values);
    if (!(most > 0)) return 0;
    grown += Math.log(most);
    values = values.map((v) => v / most);
  }
  return Math.exp(grown / rounds);
}
