/** A product of the graph over the axes of a kernel. */

import { type Node, sizes as shapeOf } from "../../ir/graph.ts";
import { dotAxes } from "../../ir/ops/contraction.ts";
import { attrsOf } from "../../ir/ops/index.ts";
import { axisIndex, type Index, unflatten, zero } from "./index.ts";

/** Sizes and coordinates of a `dot`. */
export interface DotShape {
  readonly axes: readonly [number, number, number, number];
  readonly out: readonly Index[];
  readonly lhs: readonly Index[];
  readonly rhs: readonly Index[];
}

/** The coordinates of a dot's result and operands in terms of axes b, m, n, k. */
export function dotShape(dot: Node): DotShape {
  const [l, r] = dot.inputs.map(shapeOf);
  const a = dotAxes(attrsOf(dot, "dot"), l.length, r.length);
  const pick = (shape: readonly number[], list: readonly number[]) => list.map((i) => shape[i]);
  const count = (list: readonly number[]) => list.reduce((x, y) => x * y, 1);
  const boxes = [pick(l, a.lhsBatch), pick(l, a.lhsFree), pick(r, a.rhsFree), pick(l, a.lhsContract)];
  const axes = boxes.map(count) as unknown as readonly [number, number, number, number];
  const coords = boxes.map((dims, i) => (axes[i] === 1 ? dims.map(() => zero) : unflatten(axisIndex(i), dims, axes)));
  const operand = (rank: number, lists: readonly (readonly [readonly number[], readonly Index[]])[]): Index[] => {
    const out = new Array<Index>(rank);
    for (const [list, at] of lists)
      list.forEach((axis, i) => {
        out[axis] = at[i];
      });
    return out;
  };
  return {
    axes,
    out: [...coords[0], ...coords[1], ...coords[2]],
    lhs: operand(l.length, [
      [a.lhsBatch, coords[0]],
      [a.lhsFree, coords[1]],
      [a.lhsContract, coords[3]],
    ]),
    rhs: operand(r.length, [
      [a.rhsBatch, coords[0]],
      [a.rhsFree, coords[2]],
      [a.rhsContract, coords[3]],
    ]),
  };
}
