/**
 * Parts of tensors. A demand says which elements of a node are read: all (`undefined`), a box, or rows that an index chooses.
 */

import type { Builder } from "../../build.ts";
import { type Node, sizes } from "../../graph.ts";
import { elements, range, sameList } from "../rules/facts.ts";

/** On each axis positions start, start + step, ... below stop. */
export interface Box {
  readonly kind: "box";
  readonly start: readonly number[];
  readonly stop: readonly number[];
  readonly step: readonly number[];
}
/** The first `lead` axes flattened, and of those rows the ones that `index` names; the index's axes take their place. */
export interface Rows {
  readonly kind: "rows";
  readonly index: Node;
  readonly lead: number;
}
export type Demand = Box | Rows | undefined;

export const whole = (shape: readonly number[]): Box => ({
  kind: "box",
  start: shape.map(() => 0),
  stop: shape,
  step: shape.map(() => 1),
});
const isWhole = (b: Box, shape: readonly number[]): boolean => shape.every((_, i) => axisIsWhole(b, i, shape));
export const axisIsWhole = (b: Box, axis: number, shape: readonly number[]): boolean =>
  b.start[axis] === 0 && b.step[axis] === 1 && b.stop[axis] === shape[axis];

export const boxShape = (b: Box): number[] => b.start.map((s, i) => Math.max(0, Math.ceil((b.stop[i] - s) / b.step[i])));

/** A box with axes taken from others: for each axis, which box's which axis, or all of a size. */
export function boxFrom(axes: readonly ([Box, number] | number)[]): Box {
  const at = (name: "start" | "stop" | "step", all: (size: number) => number) =>
    axes.map((a) => (typeof a === "number" ? all(a) : a[0][name][a[1]]));
  return {
    kind: "box",
    start: at("start", () => 0),
    stop: at("stop", (size) => size),
    step: at("step", () => 1),
  };
}

/** `undefined` in place of a box that leaves nothing out. */
export const asDemand = (b: Box, shape: readonly number[]): Demand => (isWhole(b, shape) ? undefined : b);

/** The least demand that covers all. Boxes with steps must agree on an axis, or all of it is covered. */
export function covering(demands: readonly Demand[], shape: readonly number[]): Demand {
  if (demands.length === 0 || demands.some((d) => d === undefined)) return undefined;
  const first = demands[0]!;
  if (first.kind === "rows")
    return demands.every((d) => d!.kind === "rows" && d!.index === first.index && d!.lead === first.lead) ? first : undefined;
  let cover: Box = first;
  for (const d of demands) {
    if (d!.kind !== "box") return undefined;
    const other = d as Box;
    cover = boxFrom(
      shape.map((size, i) => {
        const same = cover.start[i] === other.start[i] && cover.stop[i] === other.stop[i] && cover.step[i] === other.step[i];
        if (same) return [cover, i];
        if (cover.step[i] !== 1 || other.step[i] !== 1) return size;
        const hull: Box = {
          kind: "box",
          start: [Math.min(cover.start[i], other.start[i])],
          stop: [Math.max(cover.stop[i], other.stop[i])],
          step: [1],
        };
        return [hull, 0];
      }),
    );
  }
  return asDemand(cover, shape);
}

const sameDemand = (a: Demand, b: Demand): boolean => {
  if (a === b) return true;
  if (!a || !b || a.kind !== b.kind) return false;
  if (a.kind === "rows" && b.kind === "rows") return a.index === b.index && a.lead === b.lead;
  return a.kind === "box" && b.kind === "box" && sameList(a.start, b.start) && sameList(a.stop, b.stop) && sameList(a.step, b.step);
};

/** How many elements a node of this shape has when only the demand is computed. */
export function demandedShape(d: Demand, shape: readonly number[]): readonly number[] {
  if (!d) return shape;
  return d.kind === "box" ? boxShape(d) : [...sizes(d.index), ...shape.slice(d.lead)];
}

/** Takes a demand out of `x`, which was computed at another that covers it; `shape` is that of the whole. */
export function taken(b: Builder, x: Node, has: Demand, wants: Demand, shape: readonly number[], index: (n: Node) => Node): Node {
  if (sameDemand(has, wants) || !wants) return x;
  if (wants.kind === "rows") {
    const rows = elements(shape.slice(0, wants.lead));
    return b.gather(b.reshape(x, [rows, ...shape.slice(wants.lead)]), index(wants.index));
  }
  const from = has?.kind === "box" ? has : whole(shape);
  // A step of the cover is the step of all that it covers on that axis.
  const start = range(shape.length).map((i) => (wants.start[i] - from.start[i]) / from.step[i]);
  const size = boxShape(wants);
  const step = wants.step.map((s, i) => s / from.step[i]);
  return b.slice(
    x,
    start,
    start.map((s, i) => (size[i] === 0 ? s : s + (size[i] - 1) * step[i] + 1)),
    step,
  );
}
