/**
 * Typed looks at nodes of the structural ops: each gives the attributes of one op, or `undefined` if the node is another. Passes that move
 * structure about ask these; like `query.ts` they keep names of ops in this folder.
 */
import type { DType, Node } from "../graph.ts";
import { dtypeAttr, numberAttr, numbersAttr } from "./attrs.ts";
import { type DotAxes, dotAxes } from "./contraction.ts";

export type { DotAxes } from "./contraction.ts";

export const isReshape = (n: Node): boolean => n.op === "reshape";
export const isExpand = (n: Node): boolean => n.op === "expand";
export const isConst = (n: Node): boolean => n.op === "const";
export const isDraw = (n: Node): boolean => n.op === "draw";
export const isNeg = (n: Node): boolean => n.op === "neg";
export const isNot = (n: Node): boolean => n.op === "not";
export const isWhere = (n: Node): boolean => n.op === "where";
export const isGet = (n: Node): boolean => n.op === "get";

export const permuteOrder = (n: Node): readonly number[] | undefined => (n.op === "permute" ? numbersAttr(n.attrs, "order") : undefined);
export const castTo = (n: Node): DType | undefined => (n.op === "cast" ? dtypeAttr(n.attrs) : undefined);
export const concatAxis = (n: Node): number | undefined => (n.op === "concat" ? numberAttr(n.attrs, "axis") : undefined);
export const iotaAxis = (n: Node): number | undefined => (n.op === "iota" ? numberAttr(n.attrs, "axis") : undefined);
export const isGather = (n: Node): boolean => n.op === "gather";

interface SliceView {
  readonly start: readonly number[];
  readonly stop: readonly number[];
  readonly step: readonly number[];
}
export const sliceOf = (n: Node): SliceView | undefined =>
  n.op === "slice"
    ? { start: numbersAttr(n.attrs, "start"), stop: numbersAttr(n.attrs, "stop"), step: numbersAttr(n.attrs, "step") }
    : undefined;

interface PadView {
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly value: number;
}
export const padOf = (n: Node): PadView | undefined =>
  n.op === "pad"
    ? { low: numbersAttr(n.attrs, "low"), high: numbersAttr(n.attrs, "high"), value: numberAttr(n.attrs, "value") }
    : undefined;

export const axesOfDot = (n: Node): DotAxes | undefined =>
  n.op === "dot" ? dotAxes(n.attrs, n.inputs[0].type.shape.length, n.inputs[1].type.shape.length) : undefined;

/** Of reductions that merge (sum, max, min): the axes that disappear. */
export const reducedAxes = (n: Node): readonly number[] | undefined =>
  n.op === "reduce_sum" || n.op === "reduce_max" || n.op === "reduce_min" ? numbersAttr(n.attrs, "axes") : undefined;
export const summedAxes = (n: Node): readonly number[] | undefined => (n.op === "reduce_sum" ? numbersAttr(n.attrs, "axes") : undefined);
