import type { Span } from "../../ir/graph.ts";
import { own } from "../../ir/own.ts";
import type * as ast from "../ast.ts";
import type { EvaluateStage, GenerateStage, PredictStage, ScoreStage, Stage, StagePrompt } from "../project.ts";
import { decodeEntries } from "./decode.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { type Field, stageFields, type Verb } from "./fields.ts";
import { writesApart } from "./instance.ts";
import { reportStage } from "./report-stage.ts";
import { evaluateResult, trainResult } from "./results.ts";
import type { Scope } from "./scope.ts";
import { metricSpecs, Settings } from "./settings.ts";
import { evaluationEntry, predictEntry, readBy } from "./step.ts";
import { trainStage } from "./train-stage.ts";
import { Dataset, describe, Fields, type Value } from "./values.ts";

/** Makes one stage of the file; what its name then stands for. */
export function stage(e: Elaborator, s: ast.Stage, scope: Scope, iterations: readonly number[]): Value | undefined {
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
  const base = { name, span: s.span, folder: [file, iterations.length > 0 ? `${name}-${iterations.join("-")}` : name].join("/") };
  switch (verb) {
    case "train": {
      const made = trainStage(e, settingsOf(verb), base);
      add(e, made);
      return trainResult(e, made);
    }
    case "evaluate":
      return evaluateStage(e, settingsOf(verb), base);
    case "predict":
      return predictStage(e, settingsOf(verb), base);
    case "report":
      add(e, reportStage(e, settingsOf(verb), base));
      return undefined;
    default:
      return generateStage(e, settingsOf("generate"), base);
  }
}

interface Base {
  readonly name: string;
  readonly span: Span;
  readonly folder: string;
}

function evaluateStage(e: Elaborator, settings: Settings<"evaluate">, base: Base): Value {
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
    return evaluateResult(e, base.folder, undefined, stage.metrics, base.span);
  }
  const metrics = metricSpecs(e, settings.value("metrics"), settings.spanOf("metrics"));
  const { entry, ...reading } = evaluationEntry(e, settings, base.name, metrics);
  const out: EvaluateStage = {
    ...base,
    verb: "evaluate",
    ...reading,
    evaluation: entry,
    data: readBy(e, settings, [settings.dataset("data")])[0],
    metrics,
    batch: settings.number("batch"),
    sequence: settings.number("sequence"),
    memory: settings.number("memory"),
  };
  add(e, out);
  return evaluateResult(e, base.folder, entry, metrics, base.span);
}

function predictStage(e: Elaborator, settings: Settings<"predict">, base: Base): Value {
  const columns = settings.strings("columns") ?? fail("P0204", settings.statement.verb.span, "`predict` needs `columns`");
  const { entry, ...reading } = predictEntry(e, settings, base.name, columns);
  const out: PredictStage = {
    ...base,
    verb: "predict",
    ...reading,
    entry,
    data: readBy(e, settings, [settings.dataset("data")])[0],
    columns,
    batch: settings.number("batch"),
    sequence: settings.number("sequence"),
    memory: settings.number("memory"),
  };
  add(e, out);
  return new Dataset({ kind: "dataset", make: "predicted", args: [base.folder], options: { columns }, part: "main", span: base.span });
}

function generateStage(e: Elaborator, settings: Settings<"generate">, base: Base): Value {
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
    ...decodeEntries(e, model, base.name, beams, base.span),
    prompts: promptsOf(settings),
    data: settings.has("data") ? settings.dataset("data") : undefined,
    maxTokens: settings.number("max_tokens"),
    temperature,
    topP: settings.number("top_p"),
    samples,
    beams,
    lengthPenalty: settings.number("length_penalty"),
    stop: stop === undefined ? undefined : (e.staticValue(stop, base.span) as string),
    memory: settings.number("memory"),
    seed: settings.number("seed"),
  };
  if (!out.prompts && !out.data) fail("P0204", settings.statement.verb.span, "`generate` needs `prompts` or `data`");
  add(e, out);
  return new Dataset({ kind: "dataset", make: "generated", args: [base.folder], options: {}, part: "main", span: base.span });
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

function add(e: Elaborator, s: Stage): void {
  e.actions.push({ kind: "stage", stage: s });
}
