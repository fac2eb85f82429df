/**
 * Typed looks at nodes of the structural ops: each gives the attributes of one op, or `undefined` if the node is another. Passes that move
 * structure about ask these; like `query.ts` they keep names of ops in this folder.
 */
import type { DType, Node } from "../graph.ts";
import { attrsOf } from "./attributes.ts";
import { bounds } from "./bound.ts";
import { type DotAxes, dotAxes } from "./contraction.ts";

export type { DotAxes } from "./contraction.ts";

export const isReshape = (n: Node): boolean => n.op === "reshape";
export const isExpand = (n: Node): boolean => n.op === "expand";
export const isConst = (n: Node): boolean => n.op === "const";
export const isDraw = (n: Node): boolean => n.op === "draw";
export const isNeg = (n: Node): boolean => n.op === "neg";
export const isNot = (n: Node): boolean => n.op === "not";
export const isWhere = (n: Node): boolean => n.op === "where";
export const permuteOrder = (n: Node): readonly number[] | undefined => (n.op === "permute" ? attrsOf(n, "permute").order : undefined);
export const castTo = (n: Node): DType | undefined => (n.op === "cast" ? attrsOf(n, "cast").dtype : undefined);
export const concatAxis = (n: Node): number | undefined => (n.op === "concat" ? attrsOf(n, "concat").axis : undefined);
export const iotaAxis = (n: Node): number | undefined => (n.op === "iota" ? attrsOf(n, "iota").axis : undefined);
export const isGather = (n: Node): boolean => n.op === "gather";

interface SliceView {
  readonly start: readonly number[];
  readonly stop: readonly number[];
  readonly step: readonly number[];
}
export function sliceOf(n: Node): SliceView | undefined {
  if (n.op !== "slice") return undefined;
  const { start, stop, step } = attrsOf(n, "slice");
  return { start: bounds(start), stop: bounds(stop), step };
}

interface PadView {
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly value: number;
}
export function padOf(n: Node): PadView | undefined {
  if (n.op !== "pad") return undefined;
  const { low, high, value } = attrsOf(n, "pad");
  return { low: bounds(low), high: bounds(high), value };
}

export const axesOfDot = (n: Node): DotAxes | undefined =>
  n.op === "dot" ? dotAxes(attrsOf(n, "dot"), n.inputs[0].type.shape.length, n.inputs[1].type.shape.length) : undefined;

/** Of reductions: the axes that disappear. */
export const foldedAxes = (n: Node): readonly number[] =>
  n.op === "argmax" ? [attrsOf(n, "argmax").axis] : attrsOf(n, "reduce_sum", "reduce_max", "reduce_min").axes;
/** Of reductions that merge (sum, max, min): the axes that disappear. */
export const reducedAxes = (n: Node): readonly number[] | undefined =>
  n.op === "reduce_sum" || n.op === "reduce_max" || n.op === "reduce_min"
    ? attrsOf(n, "reduce_sum", "reduce_max", "reduce_min").axes
    : undefined;
export const summedAxes = (n: Node): readonly number[] | undefined => (n.op === "reduce_sum" ? attrsOf(n, "reduce_sum").axes : undefined);
