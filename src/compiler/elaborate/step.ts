import type { DatasetSpec } from "../../ground/table.ts";
import { sameShape } from "../../ir/dim.ts";
import type { Graph, Node, Result, Span } from "../../ir/graph.ts";
import { order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { boundNames } from "../names.ts";
import type { Entry, MetricSpec, TokenizerSource, TrainStage } from "../project.ts";
import { Context, context, within } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { Fault, fail } from "./fault.ts";
import type { Frame } from "./frame.ts";
import { Instance, writesApart } from "./instance.ts";
import type { Here } from "./scope.ts";
import type { Settings } from "./settings.ts";
import type { Storage } from "./storage.ts";
import { builderAt, isTensor, toNode } from "./tensors.ts";
import { describe, Tensor, type Value } from "./values.ts";
import { numberedBy, wordsOf } from "./verbalizers.ts";

export const nowhere: Here = { path: "", training: false, calls: "" };

/** The loss of an objective (or a sum of weighted ones) in the graph being made. */
export function objectiveLoss(e: Elaborator, value: Value, span: Span): Node {
  if (value instanceof Instance) {
    if (value.owner.kind === "model")
      fail("P0801", span, `\`objective\` is a loss, ${describe(value)} is a model`, {
        notes: [`such as \`causal_lm(${value.owner.name})\``],
      });
    return e.objectives.lossOf(value);
  }
  if (isTensor(value)) {
    const node = toNode(value, nowhere, span, e);
    if (node.type.shape.length > 0) fail("P0801", span, `the loss must be a scalar, this is ${describe(value)}`);
    return node;
  }
  fail("P0801", span, `\`objective\` must be an objective, this is ${describe(value)}`);
}

/** Every scalar that the objectives of the graph name. */
export function namedScalars(e: Elaborator): Result[] {
  const out: Result[] = [];
  for (const f of e.objectives.frames())
    for (const name of scalarNames(f)) {
      if (name === f.forward.results[0].name.text || out.some((r) => r.name === name)) continue;
      const v = f.read(name);
      if (v === undefined || v === null || !(v instanceof Tensor) || v.node.type.shape.length > 0) continue;
      out.push({ role: "output", name, node: v.node });
    }
  return out;
}
function scalarNames(f: Frame): string[] {
  return f.forward.body.flatMap((s) => (s.kind === "Binding" ? boundNames(s) : []));
}

/** An entry from results: the columns, parameters and states that they reach. */
export function entryOf(results: readonly Result[]): Entry {
  const ctx = context();
  const reached = new Set(order(results.map((r) => r.node)));
  const graph: Graph = { results };
  const columns = [...ctx.columns.values()].filter((c) => reached.has(c.node)).map((c) => c.decl);
  const states = new Set<string>();
  for (const n of reached) if (rowOf(n).supply === "state") states.add(String(n.attrs.name));
  for (const r of results) if (r.role === "state") states.add(r.name);
  return { graph, columns, states: [...states] };
}

/** The objective with `training` false. */
export function evaluationOf(
  e: Elaborator,
  objective: () => Value,
  stage: string,
  seed: number,
  span: Span,
  metrics: readonly MetricSpec[],
  trained?: readonly Storage[],
): Entry {
  const ctx = new Context("evaluate", seed, stage, e.inUse);
  ctx.trained = trained;
  return within(ctx, () => {
    const loss = objectiveLoss(e, objective(), span);
    e.note(ctx);
    const scalars: Result[] = [{ role: "output", name: "loss", node: loss }, ...namedScalars(e)];
    const asked = metrics.some(({ name }) => !scalars.some((r) => r.name === name));
    return entryOf([...scalars, ...(asked ? labelled(e) : [])]);
  });
}

/**
 * What an objective predicts and what it should have predicted: its values `predicted` and `expected`, or else the likeliest class of its `logits`
 * and the column `label`. Nothing where it names neither.
 */
function labelled(e: Elaborator): Result[] {
  const read = (f: Frame, name: string): Node | undefined => {
    const v = f.read(name);
    return v instanceof Tensor ? v.node : undefined;
  };
  for (const f of e.objectives.frames()) {
    const logits = read(f, "logits");
    const b = builderAt(nowhere, f.span);
    const predicted = read(f, "predicted") ?? (logits && logits.type.shape.length > 1 ? b.argmax(logits, -1) : undefined);
    const expected = read(f, "expected") ?? read(f, "label");
    if (predicted === undefined || expected === undefined || !sameShape(predicted.type.shape, expected.type.shape)) continue;
    return [
      { role: "output", name: "predicted", node: predicted },
      { role: "output", name: "expected", node: expected },
    ];
  }
  return [];
}

export function evaluationEntry(
  e: Elaborator,
  settings: Settings,
  stage: string,
  metrics: readonly MetricSpec[],
): { entry: Entry } & Reading {
  const o = settings.exprs.get("objective") ?? fail("P0204", settings.span, "`evaluate` needs `objective`");
  return { entry: evaluationOf(e, o.value, stage, 0, o.span, metrics), ...readingOf(e, settings) };
}

/** Values of a model or objective, by path, as columns of a table. */
export function predictEntry(e: Elaborator, settings: Settings, stage: string, columns: readonly string[]): { entry: Entry } & Reading {
  const reduce = settings.value("reduce") ?? undefined;
  const ctx = new Context("evaluate", 0, stage, e.inUse);
  return within(ctx, () => {
    const source =
      settings.value("model") ?? settings.value("objective") ?? fail("P0204", settings.span, "`predict` needs `model` or `objective`");
    if (!(source instanceof Instance))
      fail("P0206", settings.span, `\`predict\` takes a model or an objective, this is ${describe(source)}`);
    const frame = e.objectives.call(source);
    const at = settings.spanOf("columns");
    const results = columns.map((path): Result => {
      const v = frame.readPath(path.split("."), nowhere, at);
      const node = toNode(v, nowhere, at, e);
      return { role: "output", name: path, node: reduce === undefined ? node : meanOfPositions(node, at) };
    });
    e.note(ctx);
    return { entry: entryOf(results), ...readingOf(e, settings) };
  });
}

/** A row's values as one: their mean over the real positions (those of `attention_mask`, where the shapes agree). */
function meanOfPositions(node: Node, span: Span): Node {
  const { shape } = node.type;
  if (shape.length < 3) return node;
  const b = builderAt(nowhere, span);
  const mask = context().columns.get("attention_mask")?.node;
  if (!mask || shape.length !== 3 || !sameShape(mask.type.shape, shape.slice(0, 2)))
    return b.reduce(
      "mean",
      node,
      shape.slice(1, -1).map((_, i) => i + 1),
    );
  const real = b.cast(mask, "f32");
  const sum = b.reduce("sum", b.mul(node, b.reshape(real, [...mask.type.shape, 1])), [1]);
  return b.div(sum, b.max(b.reduce("sum", real, [1], true), 1));
}

/** How a stage's rows of text are read. */
type Reading = Pick<TrainStage, "tokenizer" | "separate">;

/** The tables of a stage with the order of classes that the words given to its objective have. */
export function readBy(e: Elaborator, settings: Settings, data: readonly DatasetSpec[]): DatasetSpec[] {
  let words: ReturnType<typeof wordsOf>;
  eachRead(e, settings, (v) => {
    if (Array.isArray(v)) words ??= wordsOf(v);
  });
  return data.map((spec) => numberedBy(spec, words));
}

/** The tokenizer of the first model that the stage's objective or model mentions, and whether any of them writes apart from what it reads. */
export function readingOf(e: Elaborator, settings: Settings): Reading {
  const found = new Set<TokenizerSource>();
  let separate = false;
  eachRead(e, settings, (v, source) => {
    if (v instanceof Instance) separate ||= writesApart(v);
    if (source) found.add(source);
  });
  return { tokenizer: [...found][0], separate };
}

/** Calls `seen` with the models, objectives and lists that the stage's objective or model mentions, and what these are given; `source`: a model's tokenizer. */
function eachRead(e: Elaborator, settings: Settings, seen: (value: Value, source?: TokenizerSource) => void): void {
  const visit = (v: Value | undefined): void => {
    if (v instanceof Instance) {
      const source = v.tokenizer?.source ?? e.models.find((m) => m.instance === v)?.report.folder;
      seen(v, source);
      if (!source && !v.holder) for (const a of v.args.values()) visit(a);
    } else if (Array.isArray(v)) {
      seen(v);
      for (const x of v) visit(x as Value);
    }
  };
  const o = settings.exprs.get("objective") ?? settings.exprs.get("model");
  if (!o?.expr) return;
  const walk = (x: unknown): void => {
    if (Array.isArray(x)) return x.forEach(walk);
    if (x === null || typeof x !== "object") return;
    const n = x as { kind?: string; text?: string };
    if (n.kind === "Name" && n.text) {
      const read = settings.scope.find(n.text);
      // a name for a model, or for an objective over some: what it stands for here, since a loop makes several models of one name
      visit((read && quiet(() => read(nowhere))) ?? e.models.find((m) => m.name === n.text)?.instance);
    }
    for (const [k, v] of Object.entries(x)) if (k !== "span") walk(v);
  };
  walk(o.expr);
}
/** Names of an objective that are functions of a call have no value here; they name no model either. */
function quiet(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return undefined;
  }
}
