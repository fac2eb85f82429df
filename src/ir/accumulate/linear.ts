/** Linearity of single nodes, from their rows. */
import type { Node } from "../graph.ts";
import { castTo, rowOf, splatOf } from "../ops/index.ts";

/** Whether the node is linear, up to a constant, in these operands together, the others being fixed. */
export function affineIn(n: Node, moving: readonly number[]): boolean {
  const { role, linear } = rowOf(n);
  if (role === "sum" || role === "move" || role === "barrier") return true;
  if (castTo(n) === "f32") return true;
  if (linear === "all") return true;
  if (linear) return linear.some((group) => moving.every((i) => group.includes(i)));
  return role === "scale" && moving.every((i) => i === 0);
}

/** The same without a constant: zero where the moving operands are. */
export function linearIn(n: Node, moving: readonly number[]): boolean {
  if (!affineIn(n, moving)) return false;
  const { role, linear } = rowOf(n);
  if (castTo(n) !== undefined) return n.inputs[0].type.dtype !== "bool";
  if (role === "move" && typeof n.attrs.value === "number" && n.attrs.value !== 0) return false;
  const groups = linear === "all" || linear === undefined ? [n.inputs.map((_, i) => i)] : linear;
  const zero = (i: number) => moving.includes(i) || splatOf(n.inputs[i]) === 0;
  if (role === "scale" && linear === undefined) return true;
  return groups.some((group) => moving.every((i) => group.includes(i)) && group.every(zero));
}
