/**
 * Between which numbers a node's values lie in a part of it, as far as the graph alone says: positions and constants are known, what is handed in is
 * not. A number is taken to be finite where nothing says otherwise, so that a product with 0 is 0.
 */
import { type Node, sizes } from "../graph.ts";
import { bound } from "./bound.ts";
import { axesOfDot, iotaAxis, readsOf, reducedAxes, rowOf } from "./index.ts";

/** Both ends included; a bool's are 0 and 1. */
export interface Span {
  readonly lo: number;
  readonly hi: number;
}
/** A part of a node: positions `from..to` of each axis, `to` excluded. */
export type Box = readonly (readonly [from: number, to: number])[];

export const boxOf = (n: Node): Box => sizes(n).map((d) => [0, d] as const);

const ANY: Span = { lo: Number.NEGATIVE_INFINITY, hi: Number.POSITIVE_INFINITY };
const INTEGER: Span = { lo: -(2 ** 31), hi: 2 ** 31 - 1 };
const EITHER: Span = { lo: 0, hi: 1 };
const [NO, YES]: readonly Span[] = [
  { lo: 0, hi: 0 },
  { lo: 1, hi: 1 },
];
const span = (...ends: number[]): Span => {
  const lo = Math.min(...ends);
  const hi = Math.max(...ends);
  return Number.isNaN(lo) || Number.isNaN(hi) ? ANY : { lo, hi };
};
const isZero = ({ lo, hi }: Span): boolean => lo === 0 && hi === 0;
const truth = (sure: boolean, never: boolean): Span => (sure ? YES : never ? NO : EITHER);
const union = (spans: readonly Span[]): Span => ({ lo: Math.min(...spans.map((s) => s.lo)), hi: Math.max(...spans.map((s) => s.hi)) });

type Ends = (...of: Span[]) => Span;
/** Of functions of one element each. Those that are not here may give anything. */
const maps: Readonly<Record<string, Ends>> = {
  neg: (a) => ({ lo: -a.hi, hi: -a.lo }),
  exp: (a) => span(Math.exp(a.lo), Math.exp(a.hi)),
  floor: (a) => span(Math.floor(a.lo), Math.floor(a.hi)),
  ceil: (a) => span(Math.ceil(a.lo), Math.ceil(a.hi)),
  abs: (a) => (a.lo >= 0 ? a : a.hi <= 0 ? { lo: -a.hi, hi: -a.lo } : { lo: 0, hi: Math.max(-a.lo, a.hi) }),
  add: (a, b) => span(a.lo + b.lo, a.hi + b.hi),
  sub: (a, b) => span(a.lo - b.hi, a.hi - b.lo),
  mul: (a, b) => (isZero(a) || isZero(b) ? NO : span(a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi)),
  div: (a, b) => {
    if (isZero(a)) return NO;
    return b.lo > 0 || b.hi < 0 ? span(a.lo / b.lo, a.lo / b.hi, a.hi / b.lo, a.hi / b.hi) : ANY;
  },
  max: (a, b) => ({ lo: Math.max(a.lo, b.lo), hi: Math.max(a.hi, b.hi) }),
  min: (a, b) => ({ lo: Math.min(a.lo, b.lo), hi: Math.min(a.hi, b.hi) }),
  lt: (a, b) => truth(a.hi < b.lo, a.lo >= b.hi),
  le: (a, b) => truth(a.hi <= b.lo, a.lo > b.hi),
  gt: (a, b) => truth(a.lo > b.hi, a.hi <= b.lo),
  ge: (a, b) => truth(a.lo >= b.hi, a.hi < b.lo),
  eq: (a, b) => truth(a.lo === a.hi && b.lo === b.hi && a.lo === b.lo, a.hi < b.lo || a.lo > b.hi),
  ne: (a, b) => truth(a.hi < b.lo || a.lo > b.hi, a.lo === a.hi && b.lo === b.hi && a.lo === b.lo),
  and: (a, b) => truth(a.lo > 0 && b.lo > 0, a.hi === 0 || b.hi === 0),
  or: (a, b) => truth(a.lo > 0 || b.lo > 0, a.hi === 0 && b.hi === 0),
  not: (a) => truth(a.hi === 0, a.lo > 0),
};

export class Spans {
  private readonly known = new Map<Node, Map<string, Span>>();

  /** `assumed`: what is known of some nodes from elsewhere. */
  constructor(private readonly assumed: (n: Node) => Span | undefined = () => undefined) {}

  at(n: Node, box: Box): Span {
    const given = this.assumed(n);
    if (given) return given;
    const made = this.known.get(n) ?? new Map<string, Span>();
    this.known.set(n, made);
    const key = box.join(" ");
    let found = made.get(key);
    if (!found) {
      found = this.fits(n, this.compute(n, box));
      made.set(key, found);
    }
    return found;
  }

  /** Integers wrap, and a bool is 0 or 1. */
  private fits(n: Node, s: Span): Span {
    if (n.type.dtype === "bool") return { lo: Math.max(0, s.lo), hi: Math.min(1, s.hi) };
    return n.type.dtype === "i32" && (s.lo < INTEGER.lo || s.hi > INTEGER.hi) ? INTEGER : s;
  }

  private compute(n: Node, box: Box): Span {
    const { scalar, role, supply } = rowOf(n);
    if (supply) return ANY;
    if (scalar === "where") {
      const sure = this.at(n.inputs[0], box);
      if (sure.lo > 0) return this.at(n.inputs[1], box);
      if (sure.hi === 0) return this.at(n.inputs[2], box);
      return union([this.at(n.inputs[1], box), this.at(n.inputs[2], box)]);
    }
    if (scalar === "cast") return this.cast(n, box);
    if (scalar) return maps[scalar]?.(...n.inputs.map((x) => this.at(x, box))) ?? ANY;
    if (role === "barrier") return this.at(n.inputs[0], box);
    if (role === "move") return this.moved(n, box);
    const along = iotaAxis(n);
    if (along !== undefined) return { lo: box[along][0], hi: box[along][1] - 1 };
    if (role === "source") return Array.isArray(n.attrs.data) ? span(...n.attrs.data.map(Number)) : ANY;
    const dot = axesOfDot(n);
    if (dot) {
      const [lhs, rhs] = n.inputs.map((x) => [...boxOf(x)]);
      const batch = dot.lhsBatch.length;
      dot.lhsBatch.forEach((a, i) => {
        lhs[a] = box[i];
        rhs[dot.rhsBatch[i]] = box[i];
      });
      dot.lhsFree.forEach((a, i) => {
        lhs[a] = box[batch + i];
      });
      dot.rhsFree.forEach((a, i) => {
        rhs[a] = box[batch + dot.lhsFree.length + i];
      });
      return isZero(this.at(n.inputs[0], lhs)) || isZero(this.at(n.inputs[1], rhs)) ? NO : ANY;
    }
    const reduced = reducedAxes(n);
    if (!reduced) return ANY;
    let kept = 0;
    const of = this.at(
      n.inputs[0],
      sizes(n.inputs[0]).map((d, axis) => (reduced.includes(axis) ? ([0, d] as const) : box[kept++])),
    );
    return rowOf(n).reduce!.merge === "add" ? (isZero(of) ? NO : ANY) : of;
  }

  private cast(n: Node, box: Box): Span {
    const of = this.at(n.inputs[0], box);
    if (n.type.dtype === "bool") return truth(of.lo > 0 || of.hi < 0, isZero(of));
    return n.type.dtype === "i32" ? span(Math.trunc(of.lo), Math.trunc(of.hi)) : of;
  }

  private moved(n: Node, box: Box): Span {
    const reads = readsOf(n)!;
    if (reads === "in order") return this.at(n.inputs[0], beneath(n, box));
    const met: Span[] = [];
    let all = false;
    for (const { operand, axes, bounded } of reads.parts) {
      const shape = sizes(n.inputs[operand]);
      let whole = true;
      const inner = axes.map((read, a): readonly [number, number] => {
        if (read === "only") return [0, 1];
        const [from, to] = box[read.axis];
        const ends = [from, to - 1].map((place) => bound(read.offset) + read.step * place).sort((x, y) => x - y);
        if (bounded.includes(a) && (ends[0] < 0 || ends[1] >= shape[a])) whole = false;
        return [Math.max(0, ends[0]), Math.min(shape[a], ends[1] + 1)];
      });
      if (inner.every(([from, to]) => from < to)) met.push(this.at(n.inputs[operand], inner));
      if (whole) {
        all = true;
        break;
      }
    }
    if (reads.fill !== undefined && !all) met.push({ lo: reads.fill, hi: reads.fill });
    return union(met);
  }
}

/** The part of the operand of a reshape that a box is made of; all of it, where that is not a box. */
function beneath(n: Node, box: Box): Box {
  const [from, to] = [sizes(n.inputs[0]), sizes(n)];
  const [inner, outer] = [from, to].map((shape) => shape.flatMap((d, i) => (d === 1 ? [] : [i])));
  if (inner.length !== outer.length || inner.some((a, i) => from[a] !== to[outer[i]])) return boxOf(n.inputs[0]);
  const out: (readonly [number, number])[] = from.map(() => [0, 1] as const);
  inner.forEach((a, i) => {
    out[a] = box[outer[i]];
  });
  return out;
}
