/** Options that a method was called with, by name. */
import type { Span } from "../../ir/graph.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { type Applied, CallValue, Fields, Tensor, type Value } from "./values.ts";

export type OptionsGiven = ReadonlyMap<string, { readonly value: Value; readonly span: Span }>;

/** As they were when they were first asked for: what a name in them stands for may change later. A tensor belongs to the graph that is being made. */
export function optionsGiven(e: Elaborator, applied: Applied): OptionsGiven {
  if (applied.given !== undefined) return applied.given;
  const out = new Map<string, { value: Value; span: Span }>();
  const { params } = applied.method.decl;
  let position = 0;
  for (const a of applied.args) {
    if (a.kind === "Spread") {
      const v = e.evaluate(a.value, applied.scope);
      if (!(v instanceof Fields)) fail("P0205", a.span, "only a record can be spread into options");
      for (const [k, x] of v.entries) out.set(k, { value: x, span: a.span });
    } else {
      const name = a.kind === "Named" ? a.name.text : params[position++].name.text;
      out.set(name, { value: e.evaluate(a.value, applied.scope), span: a.span });
    }
  }
  for (const [k, value] of applied.values) out.set(k, { value, span: applied.span });
  if (![...out.values()].some(({ value }) => value instanceof Tensor || value instanceof CallValue)) applied.given = out;
  return out;
}
