import { Builder, TypeMismatch } from "../../ir/build.ts";
import type { Dim } from "../../ir/dim.ts";
import type { Node, Origin, Span } from "../../ir/graph.ts";
import { maybeContext } from "./context.ts";
import { fail } from "./fault.ts";
import type { Evaluator, Here } from "./scope.ts";
import { Storage } from "./storage.ts";
import { CallValue, describe, Size, Tensor, type Value } from "./values.ts";

const originOf = (here: Here, span: Span | undefined): Origin => ({ span, path: here.path, iteration: here.iteration });
/** A builder at a place; sizes of columns may be settled by what the tensors meet. */
export const builderAt = (here: Here, span: Span | undefined): Builder => {
  const ctx = maybeContext();
  return new Builder(originOf(here, span), ctx && { equal: (a, b) => ctx.equal(a, b) });
};

/** Runs what makes nodes, and turns a misfit of shapes or dtypes into an error at the user's line. */
export function building<T>(span: Span, work: () => T): T {
  try {
    return work();
  } catch (e) {
    if (!(e instanceof TypeMismatch)) throw e;
    fail("P0401", span, e.message, {
      label: "these do not fit",
      notes: e.detail.types.map((t, i) => `operand ${i + 1} is ${t.dtype}[${t.shape.join(", ")}]`),
    });
  }
}

/** Whether a value is (or stands for) a tensor. */
export function isTensor(v: Value): boolean {
  return v instanceof Tensor || v instanceof CallValue || v instanceof Storage;
}
const numbers = (v: Value): v is readonly Value[] =>
  Array.isArray(v) && v.length > 0 && v.every((x) => typeof x === "number" || numbers(x as Value));

/** A tensor for an expression of tensors: numbers and sizes become constants, calls their first output, parameters their value. */
export function toNode(v: Value, here: Here, span: Span, evaluator: Evaluator): Node {
  if (v instanceof Tensor) return v.node;
  if (v instanceof CallValue) return toNode(v.frame.first(), here, span, evaluator);
  if (v instanceof Storage) return toNode(evaluator.readStorage(v, "value", here, span), here, span, evaluator);
  const b = builderAt(here, span);
  if (v instanceof Size) return b.constant(v.dim);
  if (typeof v === "number") return b.constant(v, Number.isInteger(v) ? "i32" : "f32");
  if (typeof v === "boolean") return b.constant(v);
  if (numbers(v)) {
    evaluator.work.items(v.length, span);
    const shape: number[] = [];
    for (let x: Value = v; Array.isArray(x); x = x[0] as Value) shape.push(x.length);
    const flat = (v as readonly unknown[]).flat(8) as number[];
    if (flat.length === shape.reduce((p, d) => p * d, 1)) return b.table(flat, shape, flat.every(Number.isInteger) ? "i32" : "f32");
  }
  fail(
    "P0402",
    span,
    `a tensor is wanted here, this is ${describe(v)}`,
    v === null ? { notes: ["`x ?? y` gives y where x is `none`"] } : {},
  );
}

/** A value as an operand: static numbers keep no dtype of their own, so that `2 * ids` stays whole. */
export function toOperand(v: Value, here: Here, span: Span, evaluator: Evaluator): Node | Dim {
  if (typeof v === "number") return v;
  if (v instanceof Size) return v.dim;
  return toNode(v, here, span, evaluator);
}

/** A size or whole number; anything else is an error that says what was wanted. */
export function toDim(v: Value, span: Span, what: string): Dim {
  if (v instanceof Size) return v.dim;
  if (typeof v === "number" && Number.isInteger(v)) return v;
  fail("P0403", span, `${what} must be a whole number, this is ${describe(v)}`);
}
export function toInt(v: Value, span: Span, what: string): number {
  if (typeof v === "number" && Number.isSafeInteger(v)) return v;
  fail("P0403", span, `${what} must be a whole number known when compiling, this is ${describe(v)}`);
}
export function toNumber(v: Value, span: Span, what: string): number {
  if (typeof v === "number") return v;
  fail("P0403", span, `${what} must be a number known when compiling, this is ${describe(v)}`);
}
