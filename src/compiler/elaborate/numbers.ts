import { Builder } from "../../ir/build.ts";
import type { Span } from "../../ir/graph.ts";
import type { NumberSource } from "../project.ts";
import { Context, within } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { nowhere } from "./step.ts";
import { Storage } from "./storage.ts";
import { CallValue, Fields, Tensor, type Value } from "./values.ts";

/** A number that a run makes between two stages: a parameter that nothing trains, so that later stages read it like any other. */
export function lateNumber(e: Elaborator, source: NumberSource, span: Span, shape: readonly number[] = []): Storage {
  const path = `${source.kind}_${e.actions.filter((a) => a.kind === "number").length + 1}`;
  const place = { owner: { kind: "objective", name: "(numbers)" }, path } as const;
  const storage = new Storage(
    "parameter",
    () => place,
    "f32",
    shape,
    () => 0,
    true,
    span,
  );
  storage.source = { kind: "number" };
  // the run fills it in, whether or not anything reads it
  e.used.set(storage.name, storage);
  e.actions.push({ kind: "number", into: storage.name, source, span });
  return storage;
}

/**
 * A value of the file itself, outside stages: what is computed of parameters, or of numbers that stages made, is computed by the run at this place, once, and is a
 * number (or numbers) like those from there on. P0505: it needs a batch.
 */
export function betweenStages(e: Elaborator, span: Span, work: () => Value): Value {
  const ctx = new Context("start", 0, "(numbers)", e.inUse);
  return within(ctx, () => settled(e, work(), ctx, span));
}

/** Lists and records in which nothing is to be computed: they never change, and lists that share parts may be larger than can be walked. */
const plain = new WeakSet<object>();

function settled(e: Elaborator, value: Value, ctx: Context, span: Span, made = new Map<Value, Value>()): Value {
  if (value instanceof Tensor || value instanceof CallValue) return computed(e, value, ctx, span);
  if (!(Array.isArray(value) || value instanceof Fields) || plain.has(value)) return value;
  const known = made.get(value);
  if (known !== undefined) return known;
  const each = (x: Value): Value => settled(e, x, ctx, span, made);
  let out: Value = value;
  if (value instanceof Fields) {
    const all = [...value.own()].map(([name, x]) => [name, each(x), x] as const);
    if (all.some(([, x, was]) => x !== was)) out = new Fields(new Map(all.map(([name, x]) => [name, x])), value.type);
  } else {
    const all = value as readonly Value[];
    const now = all.map(each);
    if (now.some((x, k) => x !== all[k])) out = now;
  }
  made.set(value, out);
  plain.add(out as object);
  return out;
}

/** A parameter or state as it is when this place of the file is reached. */
export function asItIs(e: Elaborator, value: Storage, span: Span): Storage {
  const ctx = new Context("start", 0, "(numbers)", e.inUse);
  return within(ctx, () => computed(e, value, ctx, span));
}

function computed(e: Elaborator, value: Value, ctx: Context, span: Span): Storage {
  const b = new Builder({ path: "(numbers)", span });
  const node = b.cast(e.node(value, nowhere, span), "f32");
  const { shape } = node.type;
  if (!shape.every((d) => typeof d === "number")) fail("P0505", span, "this depends on a batch, which only a stage has");
  const into = lateNumber(e, { kind: "computed", graph: { results: [{ role: "output", name: "value", node }] } }, span, shape as number[]);
  e.note(ctx);
  return into;
}
