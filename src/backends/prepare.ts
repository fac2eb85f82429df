/** What lowering wants of a graph that its meaning does not say: results that can be stored, products that are worth a tile. */

import { make } from "../ir/build.ts";
import { type Graph, type Node, node, type Result, sizes } from "../ir/graph.ts";
import { dotAxes } from "../ir/ops/contraction.ts";
import { rowOf } from "../ir/ops/index.ts";
import { rebuild, withInputs } from "../ir/rebuild.ts";
import { isLeaf, isView } from "./kernels/roots.ts";

const copyOf = (n: Node): Node => node("stop_gradient", [n], {}, n.type, n.origin);

/** Reshapes only: the same elements in the same order. */
function sameElements(n: Node): Node {
  while (isView(n) && (rowOf(n).role === "barrier" || n.op === "reshape") && !isLeaf(n.inputs[0])) n = n.inputs[0];
  return n;
}

/**
 * Lets results that are reshaped be stored as what they are reshaped from, and copies what two results, or a result and what is handed in, would
 * share. The first result of a node keeps it.
 */
export function storableResults(graph: Graph): Graph {
  const taken = new Set<Node>();
  const results = graph.results.map((r): Result => {
    const n = sameElements(r.node);
    if (isLeaf(n) || (taken.has(n) && r.role !== "output")) return { ...r, node: copyOf(r.node) };
    taken.add(n);
    return { ...r, node: n };
  });
  return { results };
}

/** Products with a side, or a depth, of 1 become sums of elementwise products: they are bound by memory, and a tile of one row is mostly empty. */
export function thinProducts(graph: Graph): Graph {
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => (rowOf(n).role === "product" ? thin(n, inputs) : withInputs(n, inputs)),
  );
  return { results: graph.results.map((r, i) => ({ ...r, node: roots[i] })) };
}

function thin(n: Node, inputs: readonly Node[]): Node {
  const [l, r] = n.inputs.map(sizes);
  const a = dotAxes(n.attrs, l.length, r.length);
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
