/** Types that do not fit, as data: the compiler turns it into a problem at a place, passes let it become a `Bug`. */
import { type Dim, showShape } from "../dim.ts";
import type { DType, Type } from "../graph.ts";
import type { Solver } from "./op.ts";

export const showType = (t: Type): string => `${t.dtype}${showShape(t.shape)}`;

interface MismatchDetail {
  readonly op: string;
  /** The operands' types, in order. */
  readonly types: readonly Type[];
  /** The two operands that disagree (indices into `types`), the axis in each, the two sizes. */
  readonly operands?: readonly [number, number];
  readonly axes?: readonly [number, number];
  readonly sizes?: readonly [Dim, Dim];
}

export class TypeMismatch extends Error {
  override readonly name = "TypeMismatch";
  constructor(
    message: string,
    readonly detail: MismatchDetail,
  ) {
    super(message);
  }
}

/** Throws a mismatch about the operands as a whole. */
export function refuse(op: string, types: readonly Type[], why: string): never {
  const seen = types.length ? ` (operands: ${types.map(showType).join(", ")})` : "";
  throw new TypeMismatch(`${op}: ${why}${seen}`, { op, types });
}

export function needDType(op: string, types: readonly Type[], i: number, allowed: readonly DType[]): void {
  if (!allowed.includes(types[i].dtype)) refuse(op, types, `operand ${i + 1} must be ${allowed.join(" or ")}, not ${types[i].dtype}`);
}

export function needCount(op: string, types: readonly Type[], n: number): void {
  if (types.length !== n) refuse(op, types, `takes ${n} operand${n === 1 ? "" : "s"}, not ${types.length}`);
}

/** The i-th operand's size on one axis must equal the j-th's on another. */
export function needEqual(op: string, types: readonly Type[], [i, j]: [number, number], [p, q]: [number, number], solver: Solver): void {
  const a = types[i].shape[p];
  const b = types[j].shape[q];
  if (solver.equal(a, b)) return;
  const where = p === q ? `axis ${p}` : `axes ${p} and ${q}`;
  throw new TypeMismatch(`${op}: sizes ${a} and ${b} differ on ${where} of ${showType(types[i])} and ${showType(types[j])}`, {
    op,
    types,
    operands: [i, j],
    axes: [p, q],
    sizes: [a, b],
  });
}

/** All operands from `first` on must have equal shapes. */
export function needSameShape(op: string, types: readonly Type[], solver: Solver, first = 0): void {
  for (let j = first + 1; j < types.length; j++) {
    if (types[first].shape.length !== types[j].shape.length)
      throw new TypeMismatch(`${op}: ranks differ: ${showType(types[first])} and ${showType(types[j])}`, {
        op,
        types,
        operands: [first, j],
      });
    for (let axis = 0; axis < types[first].shape.length; axis++) needEqual(op, types, [first, j], [axis, axis], solver);
  }
}

/** The attribute as a list of whole numbers, one an axis of `rank`, if `rank` is given. */
export function needAxis(op: string, types: readonly Type[], axis: unknown, rank: number): number {
  if (typeof axis !== "number" || !Number.isInteger(axis) || axis < 0 || axis >= rank)
    refuse(op, types, `there is no axis ${String(axis)}`);
  return axis;
}

export function needAxes(op: string, types: readonly Type[], axes: unknown, rank: number): readonly number[] {
  if (!Array.isArray(axes)) refuse(op, types, "needs a list of axes");
  for (const axis of axes) needAxis(op, types, axis, rank);
  if (new Set(axes).size !== axes.length) refuse(op, types, `an axis is named twice in [${axes.join(", ")}]`);
  return axes as readonly number[];
}
