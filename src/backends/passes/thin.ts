/** Products with a side, or a depth, of 1 become sums of elementwise products: they are bound by memory, and a tile of one row is mostly empty. */

import { type Graph, type Node, sizes } from "../../ir/graph.ts";
import { make } from "../../ir/make.ts";
import { dotAxes } from "../../ir/ops/contraction.ts";
import { attrsOf, rowOf } from "../../ir/ops/index.ts";
import type { Pass } from "../../ir/passes/pass.ts";
import { rebuildGraph, withInputs } from "../../ir/rebuild.ts";

export const thin: Pass = {
  name: "thin",
  before: "a flat graph, or the body of a loop",
  after: "no product has a side, or a depth, of 1: it is a sum of elementwise products",
  law: "results are equal but for the order of sums",
  run: (graph) => thinProducts(graph),
};

function thinProducts(graph: Graph): Graph {
  return rebuildGraph(graph, new Map(), (n, inputs) => (rowOf(n).role === "product" ? asSum(n, inputs) : withInputs(n, inputs)));
}

function asSum(n: Node, inputs: readonly Node[]): Node {
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
