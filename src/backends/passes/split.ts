/**
 * Reductions of many elements to few go in two steps, so that there is work for all threads: first along some of the axes, or along parts of
 * an axis, then over the partial results. The order of a sum stays a function of its shape.
 */

import { type Graph, type Node, sizes } from "../../ir/graph.ts";
import { make } from "../../ir/make.ts";
import { attrsOf, type ReduceName, rowOf } from "../../ir/ops/index.ts";
import type { Pass } from "../../ir/passes/pass.ts";
import { rebuildGraph, withInputs } from "../../ir/rebuild.ts";

export const split: Pass = {
  name: "split",
  before: "a flat graph, or the body of a loop",
  after: "large f32 reductions to few elements go in two steps, the first with work for many threads",
  law: "results are equal but for the order of sums, which is a function of their shapes",
  optional: true,
  run: (graph, { options: { body } }) => splitReductions(graph, body ? ITERATION_PARTS : PARTS),
};

/** Partial sums and extremes fill at least this many units of work, where there are elements enough. */
const PARTS = 64;
/** Within an iteration of a loop: what is reduced in parts is stored for the second pass over it, and an iteration is there to store little. */
const ITERATION_PARTS = 8;
/** Reductions of fewer elements stay whole. */
const LARGE = 1 << 15;

function splitReductions(graph: Graph, least: number): Graph {
  return rebuildGraph(graph, new Map(), (n, inputs) => {
    const row = rowOf(n);
    return row.reduce && row.role === "reduce" && n.type.dtype === "f32" ? inParts(n, inputs[0], least) : withInputs(n, inputs);
  });
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
  const parted = make("reshape", [x], { shape: [...shape.slice(0, axis), part, shape[axis] / part, ...shape.slice(axis + 1)] }, n.origin);
  const first = make(op, [parted], { axes: [axis + 1] }, n.origin);
  const second = make(op, [first], { axes: [axis] }, n.origin);
  return sizes(second).length === sizes(n).length ? second : make("reshape", [second], { shape: sizes(n) }, n.origin);
}
