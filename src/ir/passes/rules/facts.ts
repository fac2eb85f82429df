/** What the rules ask about nodes. Sizes are bound. */
import { type Node, sizes } from "../../graph.ts";
import { iotaAxis, isExpand, isReshape, rowOf, splatOf } from "../../ops/index.ts";

/** The number that all elements of a constant have. */
export function splat(n: Node): number | undefined {
  const value = splatOf(n);
  return typeof value === "number" ? value : undefined;
}

export const elementwise = (n: Node): boolean => rowOf(n).scalar !== undefined;

export const isTimes = (n: Node): boolean => rowOf(n).role === "scale" && rowOf(n).algebra?.commutative === true;
export const isPlus = (n: Node): boolean => rowOf(n).role === "sum" && rowOf(n).algebra?.commutative === true;
export const isMinus = (n: Node): boolean => rowOf(n).role === "sum" && !rowOf(n).algebra?.commutative;

/** Axes larger than 1 along which all elements are equal by construction. */
export function constantAxes(n: Node): Set<number> {
  const shape = sizes(n);
  const large = shape.flatMap((d, i) => (d > 1 ? [i] : []));
  if (splat(n) !== undefined) return new Set(large);
  const counted = iotaAxis(n);
  if (counted !== undefined) return new Set(large.filter((i) => i !== counted));
  if (!isExpand(n)) return new Set();
  const from = sizes(n.inputs[0]);
  return new Set(large.filter((i) => from[i] === 1));
}

/** The scalar of which all elements of `n` are copies, if it is an expanded one. */
export function scalarUnder(n: Node): Node | undefined {
  if (n.type.shape.length === 0) return n;
  if (!isExpand(n) && !isReshape(n)) return undefined;
  const x = n.inputs[0];
  if (!isExpand(x) && !isReshape(x)) return x.type.shape.length === 0 ? x : undefined;
  return scalarUnder(x);
}

/** The sizes that are not 1, and the axes that have them. */
function large(shape: readonly number[]): { sizes: number[]; axes: number[] } {
  const axes = shape.flatMap((d, i) => (d === 1 ? [] : [i]));
  return { sizes: axes.map((i) => shape[i]), axes };
}

export const sameList = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((x, i) => x === b[i]);
export const range = (n: number, from = 0): number[] => Array.from({ length: n }, (_, i) => from + i);
export const elements = (shape: readonly number[]): number => shape.reduce((p, d) => p * d, 1);

/**
 * For a reshape that only puts in or takes out axes of size 1: for each axis of the result, the axis of the operand, or −1 for a new one.
 * `undefined` for any other reshape.
 */
export function unitReshape(from: readonly number[], to: readonly number[]): number[] | undefined {
  const a = large(from);
  const b = large(to);
  if (!sameList(a.sizes, b.sizes)) return undefined;
  const map = new Array<number>(to.length).fill(-1);
  b.axes.forEach((axis, i) => {
    map[axis] = a.axes[i];
  });
  return map;
}
