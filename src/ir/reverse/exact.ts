/**
 * Loops whose carried values are coupled, with these values as integers: x is X·2⁻ᵠ, an iteration gives Y = round(c·X) + round(f·2ᵠ). The gradient is
 * that of y = c·x + f, taken where the forward half has been. What such an iteration loses of X has a fixed number of bits, so that a later pass can
 * run it backwards to the bit.
 */

import { Builder } from "../build.ts";
import type { Body, Graph, Node, Type } from "../graph.ts";
import { makeArg, makeLoop } from "../make.ts";
import { attrsOf } from "../ops/index.ts";
import { carriedRead, exportRead, isGet, rebuild, withInputs } from "../rebuild.ts";
import type { Coupling } from "./couplings.ts";
import { growing, type Reversible } from "./found.ts";
import { RANGE, REVERSE_SCALE, REVERSE_UNIT, REVERSE_WIDE_SCALE, REVERSE_WIDE_UNIT, Words } from "./streams.ts";

/** Outputs of such a step: 1 where a stream left the range of its integers; 1 where what was rebuilt is not what was there. */
export const REVERSE_RANGE = "reverse_range";
export const REVERSE_CHECK = "reverse_check";

/** Output of a step with f32 streams: by how much values that were rebuilt are off from those kept, relatively, at the worst. */
export const REVERSE_ERROR = "reverse_error";

const SCALAR: Type = { dtype: "f32", shape: [] };

/** The graph with integer streams in these loops, and an output that says whether they kept their range. */
export function withIntegerStreams(graph: Graph, found: readonly Reversible[]): Graph {
  const top = new Builder({ path: "reverse" });
  const words = new Words(found.some((f) => growing(f).wide));
  const scale = top.input(words.wide ? REVERSE_WIDE_SCALE : REVERSE_SCALE, SCALAR);
  const unit = top.input(words.wide ? REVERSE_WIDE_UNIT : REVERSE_UNIT, SCALAR);
  const of = new Map(found.map((f) => [f.loop, f.couplings]));
  /** What goes in first, as an integer and as the f32 that this is. */
  const starts = new Map<Node, { integer: Node; float: Node }>();
  const startOf = (x: Node): { integer: Node; float: Node } => {
    let known = starts.get(x);
    if (!known) {
      const b = new Builder(x.origin);
      const integer = words.quantised(b, x, scale);
      known = { integer, float: words.floated(b, integer, unit) };
      starts.set(x, known);
    }
    return known;
  };
  const flags: Node[] = [];
  const change = (n: Node, inputs: readonly Node[]): Node => {
    const couplings = of.get(n);
    if (n.loop && couplings) {
      const { carried, iterations } = n.loop;
      const first = inputs.slice(0, carried).map(startOf);
      // whoever reads what went in first reads it as the iterations do
      const rest = inputs.slice(carried).map((x) => starts.get(x)?.float ?? x);
      const all = [...first.map((s) => s.integer), ...rest, unit, scale];
      const bodies = n.loop.bodies.map((body, i) => integerBody(body, carried, couplings[i], words));
      const args = [all.length - 2 - carried, all.length - 1 - carried];
      const loop = makeLoop(
        all,
        { ...n.loop, bodies, iterations: iterations.map((t) => ({ body: t.body, args: [...t.args, ...args] })) },
        n.origin,
        n.attrs,
      );
      iterations.forEach((t, at) => {
        const { results } = bodies[t.body];
        flags.push(exportRead(loop, at, results.length - 1 - carried, results[results.length - 1]));
      });
      return loop;
    }
    if (isGet(n) && of.has(n.inputs[0])) {
      const [loop] = inputs;
      if (n.attrs.output !== "carried") return withInputs(n, inputs);
      return words.floated(new Builder(n.origin), carriedRead(loop, attrsOf(n, "get").index), unit);
    }
    if (n.loop && n.attrs.follows !== undefined) {
      const all = inputs.map((x, i) => (i < n.loop!.carried ? x : (starts.get(x)?.float ?? x)));
      return withInputs(n, all);
    }
    return withInputs(n, inputs);
  };
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    change,
  );
  const range = flags.reduce((x, y) => top.max(x, y));
  return {
    results: [...graph.results.map((r, i) => ({ ...r, node: roots[i] })), { role: "output", name: REVERSE_RANGE, node: range }],
  };
}

/** A body with integers for what is carried; its last export says whether they left their range. */
function integerBody(body: Body, carried: number, couplings: readonly Coupling[], words: Words): Body {
  const streams = body.params.slice(0, carried).map((p, i) => makeArg(i, words.type(p.type.shape), p.origin));
  const [unit, scale] = [0, 1].map((i) => makeArg(body.params.length + i, SCALAR, body.params[0].origin));
  const known = new Map<Node, Node>();
  body.params.forEach((p, i) => {
    known.set(p, i < carried ? words.floated(new Builder(p.origin), streams[i], unit) : p);
  });
  const coupled = new Map<Node, Node>();
  const bad: Node[] = [];
  const of = new Map<Node, Coupling>();
  body.results.slice(0, carried).forEach((r, k) => {
    if (couplings[k].rest || couplings[k].negative || couplings[k].ratio.den !== 1 || couplings[k].ratio.num !== 1) of.set(r, couplings[k]);
    else coupled.set(r, streams[couplings[k].from]);
  });
  const change = (n: Node, inputs: readonly Node[]): Node => {
    const c = of.get(n);
    if (!c) return withInputs(n, inputs);
    const b = new Builder(n.origin);
    const x = streams[c.from];
    const f = c.rest ? words.quantised(b, rebuild([c.rest], known, change)[0], scale) : b.zeros(x.type);
    const y = words.coupled(b, x, f, c.negative, c.ratio);
    coupled.set(n, y);
    const { num, den } = c.ratio;
    // a multiple of a stream may wrap where the stream itself is in range
    const wraps = num > den ? [words.outside(b, x, Math.floor((RANGE / num) * den))] : [];
    const either = [words.outside(b, f), words.outside(b, y), ...wraps].reduce((p, q) => b.logic("or", p, q));
    bad.push(b.reduce("max", b.reduce("max", b.cast(either, "f32"), [-1])));
    return words.floated(b, y, unit);
  };
  const results = rebuild(body.results, known, change);
  const b = new Builder(body.results[0].origin);
  const flag = bad.length ? bad.reduce((x, y) => b.max(x, y)) : b.constant(0);
  return {
    params: [...streams, ...body.params.slice(carried), unit, scale],
    results: [...body.results.slice(0, carried).map((r) => coupled.get(r)!), ...results.slice(carried), flag],
  };
}
