/** What lowering wants of a graph that its meaning does not say: results that can be stored, products that are worth a tile. */

import { make } from "../ir/build.ts";
import { type Graph, type Node, node, type Result, sizes } from "../ir/graph.ts";
import { dotAxes } from "../ir/ops/contraction.ts";
import { attrsOf, type ReduceName, rowOf } from "../ir/ops/index.ts";
import { rebuild, withInputs } from "../ir/rebuild.ts";
import { isLeaf, isView } from "./kernels/roots.ts";

const copyOf = (n: Node): Node => node("stop_gradient", [n], {}, n.type, n.origin);

const sizeOf = (n: Node): number => sizes(n).reduce((a, b) => a * b, 1);
/** Movement to another shape that keeps every element and their order: `reshape`, or an `expand` that widens nothing. */
export const isReshape = (n: Node): boolean => rowOf(n).role === "move" && n.attrs.shape !== undefined && sizeOf(n) === sizeOf(n.inputs[0]);

/** Reshapes only: the same elements in the same order. */
function sameElements(n: Node): Node {
  while (isView(n) && (rowOf(n).role === "barrier" || isReshape(n)) && !isLeaf(n.inputs[0])) n = n.inputs[0];
  return n;
}

/**
 * Lets results that are reshaped be stored as what they are reshaped from, and copies what two results, or a result and what is handed in, would
 * share. The first result of a node keeps it. `apart`: outputs share nothing either.
 */
function storableResults(graph: Graph, apart = false): Graph {
  const taken = new Set<Node>();
  const results = graph.results.map((r): Result => {
    const n = sameElements(r.node);
    if (isLeaf(n) || (taken.has(n) && (apart || r.role !== "output"))) return { ...r, node: copyOf(r.node) };
    taken.add(n);
    return { ...r, node: n };
  });
  return { results };
}

/** One node for each parameter, state and input: kernels tell operands apart by their nodes. */
export function singleLeaves(graph: Graph): Graph {
  const seen = new Map<string, Node>();
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => {
      if (rowOf(n).supply === undefined) return withInputs(n, inputs);
      const key = `${n.op} ${String(n.attrs.name ?? n.attrs.index)}`;
      const first = seen.get(key);
      if (!first) seen.set(key, n);
      return first ?? n;
    },
  );
  return { results: graph.results.map((r, i) => ({ ...r, node: roots[i] })) };
}

/** Partial sums and extremes fill at least this many units of work, where there are elements enough. */
const PARTS = 64;
/** Within a turn of a loop: what is reduced in parts is stored for the second pass over it, and a turn is there to store little. */
const TURN_PARTS = 8;
/** Reductions of fewer elements stay whole. */
const LARGE = 1 << 15;

/**
 * Reductions of many elements to few go in two steps, so that there is work for all threads: first along some of the axes, or along parts of
 * an axis, then over the partial results. The order of a sum stays a function of its shape.
 */
function splitReductions(graph: Graph, least = PARTS): Graph {
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => {
      const row = rowOf(n);
      return row.reduce && row.role === "reduce" && n.type.dtype === "f32" ? inParts(n, inputs[0], least) : withInputs(n, inputs);
    },
  );
  return { results: graph.results.map((r, i) => ({ ...r, node: roots[i] })) };
}

function inParts(n: Node, x: Node, least: number): Node {
  const shape = sizes(x);
  const axes = [...attrsOf(n, "reduce_sum", "reduce_max", "reduce_min").axes].filter((a) => shape[a] > 1).sort((a, b) => a - b);
  const total = shape.reduce((a, b) => a * b, 1);
  const rows = total / axes.reduce((a, i) => a * shape[i], 1);
  if (total < LARGE || rows >= least || axes.length === 0) return withInputs(n, [x]);
  const op = n.op as ReduceName;
  // The leading reduced axes stay for the second step, as many as are needed.
  let kept = 0;
  for (let parts = rows; kept < axes.length - 1 && parts < least; kept++) parts *= shape[axes[kept]];
  if (kept > 0) {
    const first = make(op, [x], { axes: axes.slice(kept) }, n.origin);
    const rest = axes.slice(0, kept).map((a) => a - axes.slice(kept).filter((b) => b < a).length);
    const second = make(op, [first], { axes: rest }, n.origin);
    return sizes(second).length === sizes(n).length ? second : make("reshape", [second], { shape: sizes(n) }, n.origin);
  }
  const axis = axes[0];
  const part = [PARTS, 48, 32, 24, 16, 8].find((p) => shape[axis] % p === 0);
  if (part === undefined) return withInputs(n, [x]);
  const split = make("reshape", [x], { shape: [...shape.slice(0, axis), part, shape[axis] / part, ...shape.slice(axis + 1)] }, n.origin);
  const first = make(op, [split], { axes: [axis + 1] }, n.origin);
  const second = make(op, [first], { axes: [axis] }, n.origin);
  return sizes(second).length === sizes(n).length ? second : make("reshape", [second], { shape: sizes(n) }, n.origin);
}

/** All of the above, in the order that suits. */
export const prepare = (graph: Graph, apart = false): Graph =>
  storableResults(splitReductions(thinProducts(singleLeaves(graph)), apart ? TURN_PARTS : PARTS), apart);

/** Products with a side, or a depth, of 1 become sums of elementwise products: they are bound by memory, and a tile of one row is mostly empty. */
function thinProducts(graph: Graph): Graph {
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => (rowOf(n).role === "product" ? thin(n, inputs) : withInputs(n, inputs)),
  );
  return { results: graph.results.map((r, i) => ({ ...r, node: roots[i] })) };
}

function thin(n: Node, inputs: readonly Node[]): Node {
  const [l, r] = n.inputs.map(sizes);
  const a = dotAxes(attrsOf(n, "dot"), l.length, r.length);
  const count = (shape: readonly number[], axes: readonly number[]) => axes.reduce((x, i) => x * shape[i], 1);
  const [m, k, c] = [count(l, a.lhsFree), count(l, a.lhsContract), count(r, a.rhsFree)];
  if (m > 1 && c > 1 && k > 1) return withInputs(n, inputs);
  // Axes batch, lhs free, rhs free, contracted; each operand has 1 where it lacks an axis.
  const batch = a.lhsBatch.map((i) => l[i]);
  const [free, other] = [a.lhsFree.map((i) => l[i]), a.rhsFree.map((i) => r[i])];
  const deep = a.lhsContract.map((i) => l[i]);
  const ones = (list: readonly number[]) => list.map(() => 1);
  const whole = [...batch, ...free, ...other, ...deep];
  const side = (x: Node, order: readonly number[], shape: readonly number[]): Node => {
    const moved = make("permute", [x], { order }, n.origin);
    return make("expand", [make("reshape", [moved], { shape }, n.origin)], { shape: whole }, n.origin);
  };
  const lhs = side(inputs[0], [...a.lhsBatch, ...a.lhsFree, ...a.lhsContract], [...batch, ...free, ...ones(other), ...deep]);
  const rhs = side(inputs[1], [...a.rhsBatch, ...a.rhsFree, ...a.rhsContract], [...batch, ...ones(free), ...other, ...deep]);
  const axes = deep.map((_, i) => whole.length - deep.length + i);
  const terms = make("mul", [lhs, rhs], {}, n.origin);
  return axes.length ? make("reduce_sum", [terms], { axes }, n.origin) : terms;
}
