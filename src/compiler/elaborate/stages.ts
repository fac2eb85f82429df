import type { Span } from "../../ir/graph.ts";
import { own } from "../../ir/own.ts";
import type * as ast from "../ast.ts";
import type { DatasetSpec, EvaluateStage, GenerateStage, MetricSpec, PredictStage, ScoreStage, Stage, StagePrompt } from "../project.ts";
import { decodeEntries } from "./decode.ts";
import type { Elaborator } from "./elaborator.ts";
import { evaluate } from "./expressions.ts";
import { fail, failTogether } from "./fault.ts";
import { type Field, type FieldName, type Given, misfit, stageFields, type Verb } from "./fields.ts";
import { Instance, writesApart } from "./instance.ts";
import { fromJson } from "./models.ts";
import { reportStage } from "./report-stage.ts";
import { evaluateResult, trainResult } from "./results.ts";
import type { Scope } from "./scope.ts";
import { evaluationEntry, predictEntry } from "./step.ts";
import { trainStage } from "./train-stage.ts";
import { Applied, Dataset, describe, Fields, MethodDecl, type Value } from "./values.ts";

/** The settings of a stage: expressions are kept, since some (`objective`, `params`) are evaluated inside the graph they make. */
export class Settings<V extends Verb = Verb> {
  readonly exprs = new Map<string, { value: () => Value; expr: ast.Expr | undefined; span: Span }>();

  constructor(
    readonly e: Elaborator,
    readonly statement: ast.Stage,
    readonly scope: Scope,
    readonly fields: Readonly<Record<string, Field>>,
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
    failTogether(
      [...this.exprs].map(
        ([k, { span, value }]) =>
          () =>
            this.check(k, value, span),
      ),
    );
  }
  private check(name: string, value: () => Value, span: Span): void {
    const verb = this.statement.verb.text;
    const field = own(this.fields, name) ?? this.unknown(name, `\`${verb}\``, this.fields, span, "unknown field");
    if (field.kind.fits === "late") return;
    const v = value();
    if (v === null) return;
    const wrong = misfit(field.kind, v, `\`${name}\``);
    if (wrong !== undefined) fail("P0206", span, wrong, { notes: field.kind.notes });
    const inner = field.kind.fields;
    if (inner === undefined || !(v instanceof Fields)) return;
    failTogether(
      [...v.entries].map(([key, value]) => () => {
        const { kind } = own(inner, key) ?? this.unknown(key, `\`${name}\``, inner, span);
        const wrong = value === null ? undefined : misfit(kind, value, `\`${key}\` of \`${name}\``);
        if (wrong !== undefined) fail("P0206", span, wrong, { notes: kind.notes });
      }),
    );
  }
  private unknown(name: string, of: string, fields: object, span: Span, label?: string): never {
    const known = Object.keys(fields);
    fail("P0203", span, `${of} has no field \`${name}\``, {
      label,
      notes: [...this.e.suggestions(name, known), `it has: ${known.join(", ")}`],
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
  /** A field that was checked against its row; left out or `none`, what the row says. */
  private given<N extends FieldName<V>, T extends Value>(name: N): Given<V, N, T> {
    return (this.value(name) ?? own(this.fields, name)?.otherwise) as Given<V, N, T>;
  }
  number<N extends FieldName<V>>(name: N): Given<V, N, number> {
    return this.given<N, number>(name);
  }
  bool<N extends FieldName<V>>(name: N): Given<V, N, boolean> {
    return this.given<N, boolean>(name);
  }
  string<N extends FieldName<V>>(name: N): Given<V, N, string> {
    return this.given<N, string>(name);
  }
  strings(name: FieldName<V>): readonly string[] | undefined {
    const v = this.value(name) as string | readonly string[] | null | undefined;
    return typeof v === "string" ? [v] : (v ?? undefined);
  }
  /** A record that is a field: its own fields by name, with what the table says of those left out. */
  record(name: FieldName<V>): Readonly<Record<string, Value | undefined>> {
    const v = this.value(name) as Fields | null | undefined;
    const inner = own(this.fields, name)?.kind.fields ?? {};
    return Object.fromEntries(Object.entries(inner).map(([key, field]) => [key, v?.entries.get(key) ?? field.otherwise]));
  }
  dataset(name: string): DatasetSpec {
    const v = this.need(name);
    if (v instanceof Dataset) return v.spec;
    return fail("P0206", this.spanOf(name), `\`${name}\` must be one table of data here, this is ${describe(v)}`);
  }
  datasets(name: string): DatasetSpec[] {
    const v = this.need(name);
    return (Array.isArray(v) ? (v as readonly Dataset[]) : [v as Dataset]).map((table) => table.spec);
  }
  model(name: string): Instance {
    const v = this.need(name);
    if (!(v instanceof Instance) || v.owner.kind !== "model")
      fail("P0206", this.spanOf(name), `\`${name}\` must be a model, this is ${describe(v)}`);
    return v;
  }
}

/** Makes one stage of the file; what its name then stands for. */
export function stage(e: Elaborator, s: ast.Stage, scope: Scope, turns: readonly number[]): Value | undefined {
  const verb = s.verb.text;
  const known: Readonly<Record<string, Field>> | undefined = own(stageFields, verb);
  if (!known)
    fail("P0219", s.verb.span, `there is no stage \`${verb}\``, {
      notes: [...e.suggestions(verb, Object.keys(stageFields)), `the stages are: ${Object.keys(stageFields).join(", ")}`],
    });
  const name = s.name?.text ?? verb;
  const set = e.overrides.set ?? {};
  const overrides: Record<string, unknown> = {};
  for (const [k, v] of Object.entries(set)) {
    const [stageName, ...field] = k.split(".");
    if (field.length > 0 && (stageName === name || stageName === verb)) overrides[field.join(".")] = v;
  }
  if (e.overrides.seed !== undefined && known.seed !== undefined) overrides.seed = e.overrides.seed;
  const settingsOf = <V extends Verb>(_verb: V): Settings<V> => new Settings<V>(e, s, scope, known, overrides);
  const file = e.main.replace(/^.*\//, "").replace(/\.peft$/, "");
  const base = { name, span: s.span, folder: [file, turns.length > 0 ? `${name}-${turns.join("-")}` : name].join("/") };
  if (verb === "train") {
    const made = trainStage(e, settingsOf(verb), base);
    add(e, made);
    return trainResult(e, made);
  }
  if (verb === "evaluate") {
    const settings = settingsOf(verb);
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
      batch: settings.number("batch"),
      sequence: settings.number("sequence"),
      memory: settings.number("memory"),
    };
    add(e, out);
    return evaluateResult(e, base.folder, entry, metrics, s.span);
  }
  if (verb === "report") {
    add(e, reportStage(e, settingsOf(verb), base));
    return undefined;
  }
  if (verb === "predict") {
    const settings = settingsOf(verb);
    const columns = settings.strings("columns") ?? fail("P0204", s.verb.span, "`predict` needs `columns`");
    const { entry, ...reading } = predictEntry(e, settings, base.name, columns);
    const out: PredictStage = {
      ...base,
      verb: "predict",
      ...reading,
      entry,
      data: settings.dataset("data"),
      columns,
      batch: settings.number("batch"),
      sequence: settings.number("sequence"),
      memory: settings.number("memory"),
    };
    add(e, out);
    return new Dataset({ kind: "dataset", make: "predicted", args: [base.folder], options: { columns }, part: "main", span: s.span });
  }
  const settings = settingsOf("generate");
  const model = settings.model("model");
  const beams = settings.number("beams");
  const samples = settings.number("samples");
  const temperature = settings.number("temperature");
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
    maxTokens: settings.number("max_tokens"),
    temperature,
    topP: settings.number("top_p"),
    samples,
    beams,
    lengthPenalty: settings.number("length_penalty"),
    stop: stop === undefined ? undefined : (e.staticValue(stop, s.span) as string),
    memory: settings.number("memory"),
    seed: settings.number("seed"),
  };
  if (!out.prompts && !out.data) fail("P0204", s.verb.span, "`generate` needs `prompts` or `data`");
  add(e, out);
  return new Dataset({ kind: "dataset", make: "generated", args: [base.folder], options: {}, part: "main", span: s.span });
}

/** Texts, or records of a `text` and the columns that go with it. */
function promptsOf(settings: Settings<"generate">): readonly StagePrompt[] | undefined {
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
