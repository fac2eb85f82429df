/** Shapes side by side, and numbers of a dtype, as regions print them. */
import { type Dim, sameDim, sameShape } from "../../ir/dim.ts";
import type { Node, Type } from "../../ir/graph.ts";
import { atom, type Expression } from "./text.ts";

/** What the shapes have in common where broadcasting puts them side by side. */
export function broadcast(shapes: readonly (readonly Dim[])[]): readonly Dim[] {
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  return Array.from({ length: rank }, (_, i) => {
    const sizes = shapes.map((s) => s[s.length - rank + i] ?? 1);
    return sizes.find((d) => !sameDim(d, 1)) ?? 1;
  });
}

/** Whether a reshape only puts axes of size 1 in front. */
export function addsLeading(n: Node): boolean {
  const [from, to] = [n.inputs[0].type.shape, n.type.shape];
  const more = to.length - from.length;
  return more >= 0 && to.slice(0, more).every((d) => sameDim(d, 1)) && sameShape(to.slice(more), from);
}

export const asNumber = (e: Expression, { dtype }: Type): Expression =>
  dtype !== "f32" ? e : atom(/^\d+$/.test(e.text) ? `${e.text}.0` : `float(${e.text})`);
export function castNumber(n: Node, e: Expression): Expression {
  const { dtype } = n.type;
  if (dtype === "f32" && /^\d+$/.test(e.text)) return atom(`${e.text}.0`);
  return atom(dtype === "f32" ? `float(${e.text})` : dtype === "i32" ? `int(${e.text})` : `bool(${e.text})`);
}

export const showType = ({ dtype, shape }: Type): string => `${dtype === "f32" ? "" : dtype}[${shape.join(", ")}]`;
