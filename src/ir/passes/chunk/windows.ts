/**
 * What an iteration need not look at. Where an iteration's places let a mask be false for a whole stretch of the other axis (keys behind a causal query, or out of
 * a window's reach), the stretch adds zeros to sums and the least of numbers to maxima: the iteration is computed without it. Found from positions alone.
 */
import { Builder } from "../../build.ts";
import { type Body, type Node, order, sizes } from "../../graph.ts";
import { makeArg } from "../../make.ts";
import { axesOfDot, iotaAxis, isDraw, type OpName, reducedAxes, rowOf } from "../../ops/index.ts";
import { boxOf, type Span, Spans } from "../../ops/spans.ts";
import { cutAttrs, tiesOf } from "../../ops/ties.ts";
import { rebuild, withInputs } from "../../rebuild.ts";
import { secondsOf } from "../cut/work.ts";

/** Shorter axes are not looked at. */
const LONG = 256;
/** An axis is looked at in so many stretches. */
const STRETCHES = 16;
/** A body of its own must save this share of the work. */
const WORTH = 0.05;
/** The least of f32: no maximum is changed by it. */
const LEAST = -3.4028234663852886e38;

type Window = readonly [from: number, to: number];

const zero = ({ lo, hi }: Span): boolean => lo === 0 && hi === 0;
/** Whether what lies between the ends changes no result of a reduction. */
const neutral = (merge: string): ((s: Span) => boolean) =>
  merge === "add" ? zero : merge === "max" ? (s) => s.hi <= LEAST : (s) => s.lo >= -LEAST;

/** The stretch of an axis outside of which values are `idle`; `undefined`: all of it. */
function windowOf(spans: Spans, x: Node, axis: number, idle: (s: Span) => boolean): Window | undefined {
  const length = sizes(x)[axis];
  if (length < LONG) return undefined;
  const step = Math.ceil(length / STRETCHES);
  const full = boxOf(x);
  const skipped = (from: number): boolean =>
    idle(
      spans.at(
        x,
        full.map((b, i) => (i === axis ? ([from, Math.min(length, from + step)] as const) : b)),
      ),
    );
  let from = 0;
  while (from + step < length && skipped(from)) from += step;
  let last = Math.floor((length - 1) / step) * step;
  while (last > from && skipped(last)) last -= step;
  const to = Math.min(length, last + step);
  return from === 0 && to === length ? undefined : [from, to];
}

/** The body for iterations whose first place, the value of `number`, lies in `starts`; the body itself, where nothing is skipped. */
export function narrowed(body: Body, number: Node, starts: Span): Body {
  const results = new Narrowing(new Spans((n) => (n === number ? starts : undefined))).run(body.results);
  const before = work(body.results);
  return before - work(results) < WORTH * before ? body : withOwnArgs({ params: body.params, results });
}

const work = (roots: readonly Node[]): number => order(roots).reduce((sum, n) => sum + secondsOf(n), 0);

/** Bodies share no parameters. */
function withOwnArgs({ params, results }: Body): Body {
  const own = params.map((p, i) => makeArg(i, p.type, p.origin));
  return { params: own, results: rebuild(results, new Map(params.map((p, i) => [p, own[i]]))) };
}

class Narrowing {
  private readonly wholes = new Map<Node, Node>();
  private readonly parts = new Map<string, Node>();
  constructor(private readonly spans: Spans) {}

  run(roots: readonly Node[]): Node[] {
    for (const n of order(roots)) if (!this.wholes.has(n)) this.wholes.set(n, this.whole(n));
    return roots.map((r) => this.wholes.get(r)!);
  }

  /** The value of `n`, all of it; its operands are there. */
  private whole(n: Node): Node {
    const dot = axesOfDot(n);
    if (dot) {
      const [lhs, rhs] = n.inputs;
      for (const [i, l] of dot.lhsContract.entries()) {
        const r = dot.rhsContract[i];
        const within = both(windowOf(this.spans, lhs, l, zero), windowOf(this.spans, rhs, r, zero));
        if (within) return withInputs(n, [this.part(lhs, l, within), this.part(rhs, r, within)]);
      }
      for (const [axis, d] of sizes(n).entries()) {
        const within = windowOf(this.spans, n, axis, zero);
        if (!within) continue;
        const some = this.part(n, axis, within);
        return new Builder(n.origin).padAxis(some, axis, within[0], d - within[1]);
      }
    }
    for (const axis of reducedAxes(n) ?? []) {
      const within = windowOf(this.spans, n.inputs[0], axis, neutral(rowOf(n).reduce!.merge));
      if (within) return withInputs(n, [this.part(n.inputs[0], axis, within)]);
    }
    return withInputs(
      n,
      n.inputs.map((x) => this.wholes.get(x)!),
    );
  }

  /** The value of `n` between two places of an axis. */
  private part(n: Node, axis: number, within: Window): Node {
    const key = `${n.id} ${axis} ${within}`;
    let made = this.parts.get(key);
    if (!made) {
      made = this.cut(n, axis, within);
      this.parts.set(key, made);
    }
    return made;
  }
  private cut(n: Node, axis: number, within: Window): Node {
    const b = new Builder(n.origin);
    const [from, to] = within;
    const tie = rowOf(n).supply || isDraw(n) ? undefined : tiesOf(n).find((t) => t.result === axis);
    if (!tie) return b.sliceAxis(this.wholes.get(n)!, axis, from, to);
    const inputs = n.inputs.map((x, i) => {
      const at = tie.operands[i];
      return at === undefined ? this.wholes.get(x)! : this.part(x, at, within);
    });
    const value = b.make(n.op as OpName, inputs, cutAttrs(n, axis, to - from));
    return iotaAxis(n) === axis && from > 0 ? b.add(value, from) : value;
  }
}

const both = (a: Window | undefined, b: Window | undefined): Window | undefined => {
  if (!a || !b) return a ?? b;
  const [from, to] = [Math.max(a[0], b[0]), Math.min(a[1], b[1])];
  return from < to ? [from, to] : a;
};
