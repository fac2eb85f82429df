/** `jsonl`, `csv`, `parquet`: rows of files, with templates over their columns, or by the usual names of columns. */
import { Bug, InputError } from "../../../ir/errors.ts";
import { isConversation } from "../chat.ts";
import type { RowPlan } from "../encode.ts";
import { type Row, readCsv, readJsonLines } from "../records.ts";
import type { Plan, Source } from "../source.ts";
import { boolOption, given, type Kitchen, type Maker, packingOf, partOf, pathOf, stringOption, type TableSpec, wrong } from "../spec.ts";
import { parseTemplate, type Template } from "../template.ts";

const maker = (read: (path: string, kitchen: Kitchen) => readonly Row[]): Maker => ({
  source(spec, kitchen) {
    const path = pathOf(spec);
    return sourceOf(read(path, kitchen), path, spec);
  },
});

const fromParquet = (path: string, { loaded }: Kitchen): readonly Row[] => {
  const rows = loaded?.get(path);
  if (rows === undefined) throw new Bug(`the rows of ${path} were not loaded`);
  return rows;
};

export const jsonl = maker((path, { files }) => readJsonLines(files, path));
export const csv = maker((path, { files }) => readCsv(files, path));
/** Read before tables are made: see `loadRows`. */
export const parquet = maker(fromParquet);

/** Rows of a file, by its ending: Parquet, or else JSON Lines. */
export function readRows(path: string, kitchen: Kitchen): readonly Row[] {
  return path.endsWith(".parquet") ? fromParquet(path, kitchen) : readJsonLines(kitchen.files, path);
}

/** P0700: no rows. `undefined`: no such part. */
export function sourceOf(rows: readonly Row[], path: string, spec: TableSpec, plan?: { plan: Plan; shape: string }): Source | undefined {
  if (rows.length === 0) throw new InputError("P0700", `\`${path}\` has no rows`);
  const part = partOf(spec, rows.length);
  if (part === undefined) return undefined;
  return { file: path, rows, part, packed: packingOf(spec), ...(plan ?? planOf(spec, rows[0], path)) };
}

/** Columns that tables of tokens have from elsewhere. */
const TOKENS = ["input_ids", "attention_mask", "labels", "token_type_ids"];

/** What rows look like, and what is made of them where the options do not say: the first that fits. */
const SHAPES: readonly {
  readonly shape: string;
  readonly needs: readonly string[];
  readonly inputs: readonly string[];
  readonly target?: string;
}[] = [
  { shape: "prompt and completion", needs: ["prompt", "completion"], inputs: ["{prompt}"], target: "{completion}" },
  {
    shape: "instruction, input and output",
    needs: ["instruction", "input", "output"],
    inputs: ["{instruction}\n{input}\n"],
    target: "{output}",
  },
  { shape: "instruction and output", needs: ["instruction", "output"], inputs: ["{instruction}\n"], target: "{output}" },
  { shape: "prompt", needs: ["prompt"], inputs: ["{prompt}"] },
  { shape: "text", needs: ["text"], inputs: ["{text}"] },
  { shape: "two sentences", needs: ["sentence1", "sentence2"], inputs: ["{sentence1}", "{sentence2}"] },
  { shape: "premise and hypothesis", needs: ["premise", "hypothesis"], inputs: ["{premise}", "{hypothesis}"] },
  { shape: "sentence", needs: ["sentence"], inputs: ["{sentence}"] },
];

/** What the options say, or what the usual names of columns do. P0703: neither says what the model reads. */
function planOf(spec: TableSpec, first: Row, path: string): { plan: Plan; shape: string } {
  const { input, target, label, columns } = spec.options;
  const has = (name: string) => first.values[name] !== undefined;
  const text = (value: unknown, option: string): string => {
    if (typeof value === "string") return value;
    throw wrong(spec, `\`${option}\``, value, "a string");
  };
  const wanted = given(columns) ? columns : [];
  if (!Array.isArray(wanted)) throw wrong(spec, "`columns`", columns, "a list of names");
  const names = wanted.map((name) => text(name, "columns"));
  const lower = boolOption(spec, "lower");
  if (!given(input)) {
    if (isConversation(first)) return { plan: { kind: "chat", template: stringOption(spec, "template") }, shape: "conversations" };
    if (Array.isArray(first.values.input_ids)) {
      const own = TOKENS.filter(has);
      const more = given(label) ? text(label, "label") : has("label") ? "label" : undefined;
      return { plan: { kind: "tokens", columns: [...new Set([...own, ...names])], label: more }, shape: "tokens" };
    }
  }
  const usual = given(input) ? undefined : SHAPES.find(({ needs }) => needs.every(has));
  if (!given(input) && usual === undefined) {
    throw new InputError("P0703", `\`${path}\` has no column \`text\` or \`prompt\`, so \`input\` must say what the model reads`, [
      `it has ${Object.keys(first.values).join(", ")}`,
      'for example `input: "{premise} {hypothesis}"`, or a pair `input: ["{premise}", "{hypothesis}"]`',
    ]);
  }
  const inputs: Template[] = (usual?.inputs ?? (Array.isArray(input) ? input : [input])).map((template) =>
    parseTemplate(text(template, "input")),
  );
  if (inputs.length < 1 || inputs.length > 2)
    throw new InputError("P0703", `\`input\` of ${spec.make} is a list of ${inputs.length} where one template or two are wanted`);
  const wantedTarget = given(target) ? text(target, "target") : usual?.target;
  const plan: RowPlan = {
    kind: "text",
    inputs,
    target: wantedTarget === undefined ? undefined : parseTemplate(wantedTarget),
    label: given(label) ? text(label, "label") : usual !== undefined && has("label") ? "label" : undefined,
    columns: names,
    lower,
    wordTags: undefined,
  };
  return { plan, shape: usual === undefined ? "templates" : `${usual.shape}${plan.label === undefined ? "" : ` with ${plan.label}`}` };
}
