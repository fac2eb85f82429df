/** Reads attributes with their types checked; a wrong one is our mistake, since the language has no attributes. */
import type { Dim } from "../dim.ts";
import { Bug } from "../errors.ts";
import type { Attrs, DType } from "../graph.ts";

export function numberAttr(attrs: Attrs, name: string): number {
  const v = attrs[name];
  if (typeof v !== "number") throw new Bug(`attribute ${name} must be a number, not ${String(v)}`);
  return v;
}
export function stringAttr(attrs: Attrs, name: string): string {
  const v = attrs[name];
  if (typeof v !== "string") throw new Bug(`attribute ${name} must be a string, not ${String(v)}`);
  return v;
}
export function dimsAttr(attrs: Attrs, name: string): readonly Dim[] {
  const v = attrs[name];
  if (!Array.isArray(v)) throw new Bug(`attribute ${name} must be a list of sizes, not ${String(v)}`);
  return v as readonly Dim[];
}
/** A list of numbers; `Bug` if a symbol is among them. */
export function numbersAttr(attrs: Attrs, name: string): readonly number[] {
  const v = dimsAttr(attrs, name);
  for (const d of v) if (typeof d !== "number") throw new Bug(`attribute ${name} holds the size ${d}, which is not bound yet`);
  return v as readonly number[];
}
export function dtypeAttr(attrs: Attrs): DType {
  const v = attrs.dtype;
  if (v !== "f32" && v !== "i32" && v !== "bool") throw new Bug(`there is no dtype ${String(v)}`);
  return v;
}

/** A size as a number; `Bug` if it is a symbol. */
export function bound(d: Dim): number {
  if (typeof d !== "number") throw new Bug(`the size ${d} is not bound yet`);
  return d;
}
