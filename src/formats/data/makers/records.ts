/** `jsonl`, `csv`, `parquet`: rows of files, with templates over their columns, or by the usual names of columns. */

import type { TableSpec } from "../../../ground/table.ts";
import { Bug, InputError } from "../../../ir/errors.ts";
import { isRecord } from "../../files.ts";
import { hasTemplate } from "../chat-template.ts";
import { type AskedForm, askedForm, isConversation, readPair, readTalk, refusePrinted, type TalkOptions } from "../conversation.ts";
import type { RowPlan } from "../encode.ts";
import { readJudged } from "../judged.ts";
import { type Row, readCsv, readJsonLines } from "../records.ts";
import type { ChatPlan, Plan, Source } from "../source.ts";
import { boolOption, given, type Kitchen, type Maker, packingOf, partOf, pathOf, stringOption, wrong } from "../spec.ts";
import { isWords, taggedForm } from "../tagged.ts";
import { isSlot, parseTemplate, type Template } from "../template.ts";

const maker = (read: (path: string, kitchen: Kitchen) => readonly Row[]): Maker => ({
  source(spec, kitchen) {
    const path = pathOf(spec);
    return sourceOf(read(path, kitchen), path, spec, kitchen);
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

/** Rows of a file, by its ending: Parquet, CSV, or else JSON Lines. */
export function readRows(path: string, kitchen: Kitchen): readonly Row[] {
  if (path.endsWith(".csv")) return readCsv(kitchen.files, path);
  return path.endsWith(".parquet") ? fromParquet(path, kitchen) : readJsonLines(kitchen.files, path);
}

/** Whether texts may be put into the turns of a conversation: the stage's tokenizer has a chat template, and answers follow what is asked. */
const speaks = ({ files, tokenizer, separate }: Kitchen): boolean =>
  tokenizer !== undefined && files.stat(tokenizer) !== undefined && hasTemplate(files, tokenizer) && !separate;

/** What kinds of rows may be told to be: the usual is what they look like. */
type As = "chat" | "pairs" | "judged" | undefined;

/** P0700: no rows. P0715: messages that are no JSON. `undefined`: no such part. */
export function sourceOf(rows: readonly Row[], path: string, spec: TableSpec, kitchen: Kitchen, as?: As): Source | undefined {
  if (rows.length === 0) throw new InputError("P0700", `\`${path}\` has no rows`);
  const part = partOf(spec, rows.length);
  if (part === undefined) return undefined;
  if (!given(spec.options.input)) for (const row of rows) refusePrinted(row, path);
  const shared = { file: path, part, packed: packingOf(spec), spec };
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row.values)))];
  const without = (read: ReadonlySet<string>) => columns.filter((name) => !read.has(name) && rows.some((row) => row.values[name] !== null));
  const all = <T extends { readonly row: Row; readonly read: ReadonlySet<string> }>(made: readonly T[]) => ({
    ...shared,
    rows: made.map(({ row }) => row),
    unread: without(new Set(made.flatMap(({ read }) => [...read]))),
  });
  if (as === "pairs") {
    const spoken = speaks(kitchen);
    const made = rows.map((row) => readPair(row, path, talkOptions(spec), spoken));
    return { ...all(made), plan: { kind: "pairs", ...chatOptions(spec) }, shape: "pairs of answers" };
  }
  if (as === "judged") {
    const spoken = speaks(kitchen);
    // both answers of a pair are rows of one part
    const [start, end] = part;
    const made = rows.map((row) => readJudged(row, path, talkOptions(spec), spoken, stringOption(spec, "label")));
    const count = (until: number) => made.slice(0, until).flat().length;
    return {
      ...all(made.flat()),
      part: [count(start), count(end)],
      plan: { kind: "judged", ...chatOptions(spec) },
      shape: "answers wished for or not",
    };
  }
  const form = given(spec.options.input) ? undefined : formOf(rows[0]);
  const talks =
    as === "chat" ||
    (!given(spec.options.input) && (isConversation(rows[0]) || (typeof form === "object" && "asked" in form && speaks(kitchen))));
  if (talks) {
    const made = rows.map((row) => readTalk(row, path, talkOptions(spec)));
    return { ...all(made), plan: { kind: "chat", ...chatOptions(spec) }, shape: "conversations" };
  }
  const { plan, shape } = planOf(spec, rows[0], path, form);
  return { ...shared, rows, plan, shape, unread: without(columnsOf(plan)) };
}

/** Columns that a plan reads. */
function columnsOf(plan: Plan): Set<string> {
  if (plan.kind === "tokens") return new Set([...plan.columns, ...(plan.learnt ?? []), ...(plan.label === undefined ? [] : [plan.label])]);
  if (plan.kind !== "text") return new Set();
  const templates = [...plan.inputs, ...(plan.target === undefined ? [] : [plan.target])];
  const slots = templates.flatMap(({ pieces }) => pieces.filter(isSlot).map(({ column }) => column));
  return new Set([...slots, ...plan.columns, ...[plan.label, plan.words, plan.wordTags].filter((name) => name !== undefined)]);
}

/** P0703: `roles` that are no names, another `learn`. */
function talkOptions(spec: TableSpec): TalkOptions {
  const { roles, learn } = spec.options;
  if (given(roles) && !(isRecord(roles) && Object.values(roles).every((role) => typeof role === "string")))
    throw wrong(spec, "`roles`", roles, 'names in the file to roles, as in { teacher: "user" },');
  if (given(learn) && learn !== "answers" && learn !== "last") throw wrong(spec, "`learn`", learn, '"answers" or "last"');
  return { roles: given(roles) ? (roles as Record<string, string>) : {}, last: learn === "last" };
}

function chatOptions(spec: TableSpec): Omit<ChatPlan, "kind"> {
  const { arguments: values } = spec.options;
  if (given(values) && !isRecord(values)) throw wrong(spec, "`arguments`", values, "values by name, as in { enable_thinking: false },");
  const date = stringOption(spec, "date");
  if (date !== undefined && Number.isNaN(new Date(`${date}T12:00`).getTime()))
    throw wrong(spec, "`date`", date, "a day, as in 2026-03-01,");
  return {
    template: stringOption(spec, "template"),
    ...(given(values) && { given: values as Record<string, unknown> }),
    ...(date !== undefined && { date }),
  };
}

/** Columns that tables of tokens have from elsewhere. */
const TOKENS = ["input_ids", "attention_mask", "labels", "token_type_ids"];

/** Columns that say of each token whether it is learnt (TRL's, and their kin). */
const LEARNT = ["completion_mask", "assistant_masks", "loss_mask"];

/** The column with a row's class: `labels` too, as transformers calls it, where it is no list. */
function classColumn({ values }: Row): string | undefined {
  if (values.label !== undefined) return "label";
  return values.labels === undefined || values.labels === null || Array.isArray(values.labels) ? undefined : "labels";
}

/** What rows look like, and what is made of them where the options do not say: the first that fits. */
interface Shape {
  readonly shape: string;
  readonly needs: readonly string[];
  readonly inputs: readonly string[];
  readonly target?: string;
}
const FIRST: readonly Shape[] = [
  { shape: "prompt and completion", needs: ["prompt", "completion"], inputs: ["{prompt}"], target: "{completion}" },
];
const THEN: readonly Shape[] = [
  { shape: "prompt", needs: ["prompt"], inputs: ["{prompt}"] },
  { shape: "text", needs: ["text"], inputs: ["{text}"] },
  { shape: "two sentences", needs: ["sentence1", "sentence2"], inputs: ["{sentence1}", "{sentence2}"] },
  { shape: "premise and hypothesis", needs: ["premise", "hypothesis"], inputs: ["{premise}", "{hypothesis}"] },
  { shape: "sentence", needs: ["sentence"], inputs: ["{sentence}"] },
];
/** Columns with answers that no shape reads, and who does. */
const ANSWERS: Readonly<Record<string, string>> = {
  chosen: "rows with a better and a worse answer are for `pairs`",
  preferred_output: "rows with a better and a worse answer are for `pairs`",
  completions: "rows with several completions are not read",
};

function formOf(row: Row): Shape | AskedForm | undefined {
  const fits = ({ needs }: Shape) => needs.every((name) => row.values[name] !== undefined);
  return FIRST.find(fits) ?? askedForm(row) ?? THEN.find(fits);
}

/** A form of columns as texts in a row: what is asked a line each, then the answer. */
function askedPlan({ asked, answer }: AskedForm): { inputs: Template[]; target: Template } {
  const [first, ...more] = asked;
  const pieces = [{ column: first, filters: [] }, "\n", ...more.map((column) => ({ column, filters: [], behind: "\n" }))];
  return { inputs: [{ source: asked.map((column) => `{${column}}`).join("\\n"), pieces }], target: parseTemplate(`{${answer}}`) };
}

/** A file that is one object around its rows, or around its columns as pandas writes them. */
function wrapped({ values }: Row): string[] {
  const [name] = Object.entries(values).find(([, value]) => Array.isArray(value) && value.length > 0 && value.every(isRecord)) ?? [];
  return name === undefined ? [] : [`\`${name}\` is a list of objects: if they are the rows, write them one a line, or that list alone`];
}

/** Columns of words and their classes: what `input` and `label` name, or by their usual names. */
function taggedBy(
  { options: { input, label } }: TableSpec,
  first: Row,
  path: string,
  usual: Shape | AskedForm | undefined,
): ReturnType<typeof taggedForm> {
  const tags = typeof label === "string" ? label : undefined;
  if (!given(input)) return usual === undefined ? taggedForm(first, tags, path) : undefined;
  if (typeof input !== "string") return undefined;
  const { pieces } = parseTemplate(input);
  const [slot] = pieces.filter(isSlot);
  if (pieces.length !== 1 || slot === undefined || slot.filters.length > 0 || !isWords(first.values[slot.column])) return undefined;
  return { words: slot.column, tags };
}

/** What the options say, or what the usual names of columns do. P0703: neither says what the model reads. */
function planOf(spec: TableSpec, first: Row, path: string, usual: Shape | AskedForm | undefined): { plan: Plan; shape: string } {
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
    if (Array.isArray(first.values.input_ids)) {
      const classes = given(label) ? text(label, "label") : classColumn(first);
      const own = TOKENS.filter((name) => has(name) && name !== classes);
      const masks = own.includes("labels") ? [] : LEARNT.filter(has);
      return { plan: { kind: "tokens", columns: [...new Set([...own, ...names])], label: classes, learnt: masks }, shape: "tokens" };
    }
  }
  const tagged = given(target) ? undefined : taggedBy(spec, first, path, usual);
  if (tagged !== undefined) {
    const { words, tags } = tagged;
    const inputs = [parseTemplate(`{${words}}`)];
    return {
      plan: { kind: "text", inputs, target: undefined, label: undefined, columns: names, lower, words, wordTags: tags },
      shape: `words${tags === undefined ? "" : ` with ${tags}`}`,
    };
  }
  if (!given(input) && usual === undefined) {
    // rows of numbers alone, such as pictures: nothing is read as text
    if (names.length > 0)
      return { plan: { kind: "tokens", columns: names, label: given(label) ? text(label, "label") : undefined }, shape: "columns" };
    throw new InputError("P0703", `\`${path}\` has no column \`text\` or \`prompt\`, so \`input\` must say what the model reads`, [
      `it has ${Object.keys(first.values).join(", ")}`,
      ...Object.entries(ANSWERS).flatMap(([name, who]) => (has(name) ? [who] : [])),
      ...wrapped(first),
      ...(given(label) ? ["rows without a text name their `columns`"] : []),
      'for example `input: "{premise} {hypothesis}"`, or a pair `input: ["{premise}", "{hypothesis}"]`',
    ]);
  }
  const answers = Object.keys(ANSWERS).find(has);
  if (usual !== undefined && answers !== undefined && !("asked" in usual) && usual.target === undefined && !given(target))
    throw new InputError("P0703", `\`${path}\` has a column \`${answers}\` beside \`${usual.needs[0]}\`, which would not be learnt`, [
      ANSWERS[answers],
      "or say what the model reads and learns with `input` and `target`",
    ]);
  const made = usual !== undefined && "asked" in usual ? askedPlan(usual) : undefined;
  const inputs: Template[] =
    made?.inputs ??
    ((usual as Shape | undefined)?.inputs ?? (Array.isArray(input) ? input : [input])).map((template: unknown) =>
      parseTemplate(text(template, "input")),
    );
  if (inputs.length < 1 || inputs.length > 2)
    throw new InputError("P0703", `\`input\` of ${spec.make} is a list of ${inputs.length} where one template or two are wanted`);
  const own = usual !== undefined && "target" in usual && usual.target !== undefined ? parseTemplate(usual.target) : made?.target;
  const plan: RowPlan = {
    kind: "text",
    inputs,
    target: given(target) ? parseTemplate(text(target, "target")) : own,
    label: given(label) ? text(label, "label") : usual !== undefined ? classColumn(first) : undefined,
    columns: names,
    lower,
    wordTags: undefined,
  };
  return { plan, shape: usual === undefined ? "templates" : `${usual.shape}${plan.label === undefined ? "" : ` with ${plan.label}`}` };
}
