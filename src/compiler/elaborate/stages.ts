import type { Span } from "../../ir/graph.ts";
import { own } from "../../ir/own.ts";
import type * as ast from "../ast.ts";
import type { DatasetSpec, EvaluateStage, GenerateStage, MetricSpec, PredictStage, ScoreStage, Stage, StagePrompt } from "../project.ts";
import { decodeEntries } from "./decode.ts";
import type { Elaborator } from "./elaborator.ts";
import { evaluate } from "./expressions.ts";
import { fail } from "./fault.ts";
import { Instance, writesApart } from "./instance.ts";
import { fromJson } from "./models.ts";
import { reportStage } from "./report-stage.ts";
import { evaluateResult, trainResult } from "./results.ts";
import type { Scope } from "./scope.ts";
import { evaluationEntry, predictEntry } from "./step.ts";
import { trainStage } from "./train-stage.ts";
import { Applied, Dataset, describe, Fields, MethodDecl, type Value } from "./values.ts";

const MOST = 2 ** 31 - 1;

/** The settings of a stage: expressions are kept, since some (`objective`, `params`) are evaluated inside the graph they make. */
export class Settings {
  readonly exprs = new Map<string, { value: () => Value; expr: ast.Expr | undefined; span: Span }>();

  constructor(
    readonly e: Elaborator,
    readonly statement: ast.Stage,
    readonly scope: Scope,
    known: readonly string[],
    overrides: Readonly<Record<string, unknown>>,
  ) {
    for (const s of statement.settings) {
      if (s.kind === "Setting") this.exprs.set(s.name.text, { value: () => evaluate(e, s.value, scope), expr: s.value, span: s.name.span });
      else {
        const v = evaluate(e, s.value, scope);
        if (!(v instanceof Fields)) fail("P0206", s.span, `a record is spread into a stage, this is ${describe(v)}`);
        for (const [k, x] of v.entries) this.exprs.set(k, { value: () => x, expr: undefined, span: s.span });
      }
    }
    const { span } = statement.verb;
    for (const [path, v] of Object.entries(overrides)) {
      const [k, ...inner] = path.split(".");
      const before = this.exprs.get(k);
      const value = inner.length === 0 ? () => fromJson(v) : () => overridden(e, before?.value(), inner, fromJson(v), span);
      this.exprs.set(k, { value, expr: undefined, span });
    }
    for (const [k, { span }] of this.exprs)
      if (!known.includes(k))
        fail("P0203", span, `\`${statement.verb.text}\` has no field \`${k}\``, {
          label: "unknown field",
          notes: [...e.suggestions(k, known), `it has: ${known.join(", ")}`],
        });
  }
  get span(): Span {
    return this.statement.span;
  }
  has(name: string): boolean {
    return this.exprs.has(name);
  }
  spanOf(name: string): Span {
    return this.exprs.get(name)?.span ?? this.statement.span;
  }
  value(name: string): Value | undefined {
    return this.exprs.get(name)?.value();
  }
  need(name: string): Value {
    const v = this.value(name);
    if (v === undefined) fail("P0204", this.statement.verb.span, `\`${this.statement.verb.text}\` needs \`${name}\``);
    return v;
  }
  private typed<T>(name: string, what: string, is: (v: Value) => v is T & Value, otherwise: T): T {
    const v = this.value(name);
    if (v === undefined) return otherwise;
    if (!is(v)) fail("P0206", this.spanOf(name), `\`${name}\` must be ${what}, this is ${describe(v)}`);
    return v;
  }
  int(name: string, otherwise: number | undefined, least = 1): number {
    const v = this.value(name);
    if (v === undefined || v === null) return otherwise as number;
    return this.whole(v, name, `\`${name}\``, least);
  }
  /** A whole number in a record that is a field of the stage (`evaluate = { every: 10 }`); `undefined` where it has none. */
  intIn(record: Fields | undefined, name: string, field: string, least = 1): number | undefined {
    const v = record?.entries.get(field);
    return v === undefined || v === null ? undefined : this.whole(v, name, `\`${field}\` of \`${name}\``, least);
  }
  private whole(v: Value, name: string, what: string, least: number): number {
    if (typeof v !== "number" || !Number.isInteger(v) || v < least)
      fail("P0206", this.spanOf(name), `${what} must be a whole number of at least ${least}, this is ${describe(v)}`);
    // a graph holds steps and seeds as i32
    if (v > MOST) fail("P0206", this.spanOf(name), `${what} is ${v}: at most ${MOST} is possible`);
    return v;
  }
  number(name: string, otherwise: number | undefined): number {
    return this.typed<number>(name, "a number", (v): v is number => typeof v === "number", otherwise as number);
  }
  bool(name: string, otherwise: boolean): boolean {
    return this.typed<boolean>(name, "true or false", (v): v is boolean => typeof v === "boolean", otherwise);
  }
  string(name: string, otherwise: string | undefined): string {
    return this.typed<string>(name, "a string", (v): v is string => typeof v === "string", otherwise as string);
  }
  strings(name: string): readonly string[] | undefined {
    const v = this.value(name);
    if (v === undefined || v === null) return undefined;
    const list = typeof v === "string" ? [v] : v;
    if (!Array.isArray(list) || !list.every((x) => typeof x === "string"))
      fail("P0206", this.spanOf(name), `\`${name}\` must be a list of strings, this is ${describe(v)}`);
    return list as readonly string[];
  }
  record(name: string, fields: readonly string[]): Fields | undefined {
    const v = this.value(name);
    if (v === undefined || v === null) return undefined;
    if (!(v instanceof Fields)) fail("P0206", this.spanOf(name), `\`${name}\` must be a record, this is ${describe(v)}`);
    for (const k of v.entries.keys())
      if (!fields.includes(k))
        fail("P0203", this.spanOf(name), `\`${name}\` has no field \`${k}\``, {
          notes: [...this.e.suggestions(k, fields), `it has: ${fields.join(", ")}`],
        });
    return v;
  }
  dataset(name: string): DatasetSpec {
    const v = this.need(name);
    if (!(v instanceof Dataset))
      fail("P0206", this.spanOf(name), `\`${name}\` must be a table of data, this is ${describe(v)}`, {
        notes: ['such as `text("data/corpus.txt", split: 0.95)`'],
      });
    return v.spec;
  }
  datasets(name: string): DatasetSpec[] {
    const v = this.need(name);
    return (Array.isArray(v) ? (v as readonly Value[]) : [v]).map((table) => {
      if (table instanceof Dataset) return table.spec;
      return fail("P0206", this.spanOf(name), `\`${name}\` must be a table of data, or a list of them, this is ${describe(table)}`);
    });
  }
  model(name: string): Instance {
    const v = this.need(name);
    if (!(v instanceof Instance) || v.owner.kind !== "model")
      fail("P0206", this.spanOf(name), `\`${name}\` must be a model, this is ${describe(v)}`);
    return v;
  }
}

const fields: Readonly<Record<string, readonly string[]>> = {
  train: [
    "objective",
    "data",
    "params",
    "steps",
    "epochs",
    "batch",
    "accumulate",
    "sequence",
    "clip",
    "optimizer",
    "schedule",
    "memory",
    "reverse",
    "precision",
    "seed",
    "shuffle",
    "evaluate",
    "watch",
    "save",
    "checkpoint",
  ],
  evaluate: ["objective", "data", "metrics", "batch", "sequence"],
  predict: ["objective", "model", "data", "columns", "reduce", "batch", "sequence"],
  report: ["rows", "of", "title", "over", "curve"],
  generate: ["model", "prompts", "data", "max_tokens", "beams", "length_penalty", "samples", "temperature", "top_p", "stop", "seed"],
};

/** Makes one stage of the file; what its name then stands for. */
export function stage(e: Elaborator, s: ast.Stage, scope: Scope, turns: readonly number[]): Value | undefined {
  const verb = s.verb.text;
  const known = own(fields, verb);
  if (!known)
    fail("P0219", s.verb.span, `there is no stage \`${verb}\``, {
      notes: [...e.suggestions(verb, Object.keys(fields)), `the stages are: ${Object.keys(fields).join(", ")}`],
    });
  const name = s.name?.text ?? verb;
  const set = e.overrides.set ?? {};
  const overrides: Record<string, unknown> = {};
  for (const [k, v] of Object.entries(set)) {
    const [stageName, ...field] = k.split(".");
    if (field.length > 0 && (stageName === name || stageName === verb)) overrides[field.join(".")] = v;
  }
  if (e.overrides.seed !== undefined && known.includes("seed")) overrides.seed = e.overrides.seed;
  const settings = new Settings(e, s, scope, known, overrides);
  const file = e.main.replace(/^.*\//, "").replace(/\.peft$/, "");
  const base = { name, span: s.span, folder: [file, turns.length > 0 ? `${name}-${turns.join("-")}` : name].join("/") };
  if (verb === "train") {
    const made = trainStage(e, settings, base);
    add(e, made);
    return trainResult(e, made);
  }
  if (verb === "evaluate") {
    if (!settings.has("objective")) {
      const stage: ScoreStage = {
        ...base,
        verb: "score",
        tokenizer: undefined,
        separate: false,
        data: settings.datasets("data"),
        metrics: metricSpecs(e, settings.need("metrics"), settings.spanOf("metrics")),
      };
      add(e, stage);
      return evaluateResult(e, base.folder, undefined, stage.metrics, s.span);
    }
    const metrics = metricSpecs(e, settings.value("metrics"), settings.spanOf("metrics"));
    const { entry, ...reading } = evaluationEntry(e, settings, base.name, metrics);
    const out: EvaluateStage = {
      ...base,
      verb: "evaluate",
      ...reading,
      evaluation: entry,
      data: settings.dataset("data"),
      metrics,
      batch: settings.int("batch", 8),
      sequence: settings.int("sequence", undefined),
    };
    add(e, out);
    return evaluateResult(e, base.folder, entry, metrics, s.span);
  }
  if (verb === "report") {
    add(e, reportStage(e, settings, base));
    return undefined;
  }
  if (verb === "predict") {
    const columns = settings.strings("columns") ?? fail("P0204", s.verb.span, "`predict` needs `columns`");
    const { entry, ...reading } = predictEntry(e, settings, base.name, columns);
    const out: PredictStage = {
      ...base,
      verb: "predict",
      ...reading,
      entry,
      data: settings.dataset("data"),
      columns,
      batch: settings.int("batch", 8),
      sequence: settings.int("sequence", undefined),
    };
    add(e, out);
    return new Dataset({ kind: "dataset", make: "predicted", args: [base.folder], options: { columns }, part: "main", span: s.span });
  }
  const model = settings.model("model");
  const beams = settings.int("beams", 1);
  const samples = settings.int("samples", 1);
  const temperature = settings.number("temperature", 0);
  if (beams > 1 && temperature > 0)
    fail("P0812", settings.spanOf("temperature"), "beams take the likeliest texts: they draw nothing", {
      label: "give `beams` or `temperature`",
    });
  if (beams > 1 && samples > beams)
    fail("P0812", settings.spanOf("samples"), `${beams} beams end in ${beams} texts, not ${samples}`, { label: "at most `beams`" });
  const stop = settings.value("stop");
  const out: GenerateStage = {
    ...base,
    verb: "generate",
    tokenizer: model.tokenizer?.source ?? e.models.find((m) => m.instance === model)?.report.folder,
    separate: writesApart(model),
    model: model.owner.name,
    ...decodeEntries(e, model, base.name, beams, s.span),
    prompts: promptsOf(settings),
    data: settings.has("data") ? settings.dataset("data") : undefined,
    maxTokens: settings.int("max_tokens", 40),
    temperature,
    topP: settings.number("top_p", 1),
    samples,
    beams,
    lengthPenalty: settings.number("length_penalty", 1),
    stop: stop === undefined ? undefined : (e.staticValue(stop, s.span) as string),
    seed: settings.int("seed", 0, 0),
  };
  if (!out.prompts && !out.data) fail("P0204", s.verb.span, "`generate` needs `prompts` or `data`");
  add(e, out);
  return new Dataset({ kind: "dataset", make: "generated", args: [base.folder], options: {}, part: "main", span: s.span });
}

/** Texts, or records of a `text` and the columns that go with it. */
function promptsOf(settings: Settings): readonly StagePrompt[] | undefined {
  const v = settings.value("prompts");
  if (v === undefined || v === null) return undefined;
  const at = settings.spanOf("prompts");
  return (Array.isArray(v) ? v : [v]).map((prompt: Value): StagePrompt => {
    if (typeof prompt === "string") return { text: prompt };
    const text = prompt instanceof Fields ? prompt.entries.get("text") : undefined;
    if (!(prompt instanceof Fields) || typeof text !== "string")
      fail("P0206", at, `a prompt is a string, or a record with a string \`text\`, this is ${describe(prompt)}`, {
        notes: ['such as `{ text: "The ", adapter: 1 }`'],
      });
    const others = [...prompt.entries].filter(([name]) => name !== "text");
    if (others.length === 0) return { text };
    return { text, columns: Object.fromEntries(others.map(([name, value]) => [name, numbersOf(value, name, at)])) };
  });
}
function numbersOf(value: Value, name: string, span: Span): number | number[] {
  if (typeof value === "number" || typeof value === "boolean") return Number(value);
  if (Array.isArray(value) && value.every((x) => typeof x === "number" || typeof x === "boolean")) return value.map(Number);
  fail("P0206", span, `\`${name}\` of a prompt is a number or a list of numbers, this is ${describe(value)}`);
}

/** Metrics by name, or called with options; the default where there are none. */
export function metricSpecs(e: Elaborator, v: Value | undefined, span: Span): MetricSpec[] {
  if (v === undefined || v === null) return [{ name: "loss", options: {} }];
  return (Array.isArray(v) ? (v as readonly Value[]) : [v]).map((m): MetricSpec => {
    if (typeof m === "string") return { name: m, options: {} };
    const name = m instanceof Fields ? m.entries.get("metric") : undefined;
    if (!(m instanceof Fields) || typeof name !== "string")
      return fail("P0206", span, `a metric is a name, or a call such as \`keyphrase_f1(at: [5])\`, this is ${describe(m)}`);
    const options = new Map([...m.entries].filter(([key]) => key !== "metric"));
    return { name, options: e.staticRecord(options) };
  });
}

function add(e: Elaborator, s: Stage): void {
  e.actions.push({ kind: "stage", stage: s });
}

/** A value with something inside it set from outside: a field of a record, an option of a method (`train.optimizer.lr`). */
export function overridden(e: Elaborator, value: Value | undefined, path: readonly string[], to: Value, span: Span): Value {
  const [name, ...inner] = path;
  const within = (v: Value | undefined): Value => (inner.length === 0 ? to : overridden(e, v, inner, to, span));
  const unknown = (of: string, names: readonly string[]) =>
    fail("P0203", span, `${of} has no \`${name}\`, which is set from outside`, {
      notes: [...e.suggestions(name, names), `it has: ${names.join(", ")}`],
    });
  // records that the file leaves out
  if (value === undefined) return new Fields(new Map([[name, within(undefined)]]));
  if (value instanceof Fields) {
    if (value.type && !value.entries.has(name)) unknown(value.type.name, [...value.entries.keys()]);
    return new Fields(new Map([...value.entries, [name, within(value.entries.get(name))]]), value.type);
  }
  const applied = value instanceof MethodDecl ? new Applied(value, [], value.scope, span) : value;
  if (applied instanceof Applied) {
    const names = applied.method.decl.params.map((p) => p.name.text);
    if (!names.includes(name)) unknown(applied.method.name, names);
    const given = e.optionsGiven(applied).get(name)?.value;
    return new Applied(applied.method, applied.args, applied.scope, applied.span, new Map([...applied.values, [name, within(given)]]));
  }
  fail("P0203", span, `\`${name}\` cannot be set from outside: it would lie in ${describe(value)}`, {
    notes: ["a field of a record and an option of a method can, as in `train.optimizer.lr=1e-3`"],
  });
}
