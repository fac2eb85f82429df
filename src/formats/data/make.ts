/** Makes the table that a dataset of a program describes. */

import type { TableSpec } from "../../ground/table.ts";
import { InputError, Limit } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { type ModelConfig, readConfig } from "../config.ts";
import { numberOf } from "../numeral.ts";
import { loadTokenizer, type TextTokenizer } from "../tokenizer/tokenizer.ts";
import { Chat } from "./chat.ts";
import { chatTemplate } from "./chat-template.ts";
import { type EncodedRows, encodeRows, givenColumn, IGNORED, labelColumn, labelCount } from "./encode.ts";
import { encodeJudged } from "./judged.ts";
import { namesIn, readArray } from "./labels.ts";
import { average } from "./makers/average.ts";
import { beside } from "./makers/beside.ts";
import { bio } from "./makers/bio.ts";
import { chat } from "./makers/chat.ts";
import { column } from "./makers/column.ts";
import { groups } from "./makers/groups.ts";
import { images } from "./makers/images.ts";
import { joinPhrases } from "./makers/join-phrases.ts";
import { judged } from "./makers/judged.ts";
import { mix } from "./makers/mix.ts";
import { pairs } from "./makers/pairs.ts";
import { generated, predicted } from "./makers/predicted.ts";
import { csv, jsonl, parquet } from "./makers/records.ts";
import { refine } from "./makers/refine.ts";
import { scored } from "./makers/scored.ts";
import { shuffleNames } from "./makers/shuffle-names.ts";
import { spans } from "./makers/spans.ts";
import { take } from "./makers/take.ts";
import { text } from "./makers/text.ts";
import { packRows } from "./pack.ts";
import { encodePairs } from "./pairs.ts";
import type { Row } from "./records.ts";
import { type ChatPlan, rowsOf, type Source, type TokenPlan } from "./source.ts";
import { given, isSpec, type Kitchen, type Maker, numberingOf, type TableContext } from "./spec.ts";
import { type Column, listColumn, type RowFacts, type Table } from "./table.ts";

export type { TableContext } from "./spec.ts";

const MAKERS: Readonly<Record<string, Maker>> = {
  text,
  jsonl,
  csv,
  parquet,
  images,
  chat,
  pairs,
  judged,
  groups,
  scored,
  mix,
  beside,
  average,
  column,
  shuffle_names: shuffleNames,
  take,
  bio,
  join_phrases: joinPhrases,
  spans,
  refine,
  predicted,
  generated,
};

/**
 * The table; `undefined`: it has no such part (`held` without a `split`). Errors: P0680 to P0685 of reading the file · P0700: no rows · P0701, P0702: malformed JSON Lines, CSV ·
 * P0703: what a table needs is not given · P0704: a template · P0705: a column is missing · P0706 to P0708: labels · P0709: a column of the wrong kind · P0710 to P0713:
 * templates and lengths · P0714 to P0716: conversations. A kind of table that is not built is a `Limit`. Files that need it must be in `context.loaded` (see `loadRows`).
 */
export function makeTable(spec: TableSpec, context: TableContext): Table | undefined {
  const kitchen = kitchenOf(context);
  const table = kitchen.table(spec);
  if (table !== undefined && table.rows === 0)
    throw new InputError("P0700", `${table.name} has no rows`, ["the file is empty, or the split or the sequence leaves nothing"]);
  return table;
}

/** Names of classes in the files that a table is made of, each with its file; none where labels are numbers. */
export function classNames(spec: TableSpec, context: TableContext): { names: string[]; file: string }[] {
  const maker = makerOf(spec);
  const inner = spec.args.flat().filter(isSpec);
  if (inner.length > 0) return inner.flatMap((one) => classNames(one, context));
  if (given(spec.options.classes)) return [];
  const found = maker.classes?.(spec, context) ?? classesOf(maker.source?.(spec, kitchenOf(context)));
  return found === undefined || found.names.length === 0 ? [] : [found];
}

function classesOf(source: Source | undefined): { names: string[]; file: string } | undefined {
  const plan = source?.plan;
  const label = plan === undefined || !("label" in plan) ? undefined : (plan.label ?? (plan.kind === "text" ? plan.wordTags : undefined));
  return label === undefined ? undefined : { names: namesIn(source!.rows, label), file: source!.file };
}

/** Its rows before they are tokens; P0703 where it is made of something else. `undefined` as above. */
export const makeSource = (spec: TableSpec, context: TableContext): Source | undefined => kitchenOf(context).source(spec);

function makerOf(spec: TableSpec): Maker {
  const maker = own(MAKERS, spec.make);
  if (maker === undefined) throw new Limit(`tables made by \`${spec.make}\` are not built`);
  return maker;
}

function kitchenOf(context: TableContext): Kitchen {
  const kitchen: Kitchen = {
    ...context,
    table(spec) {
      const maker = makerOf(spec);
      if (maker.table !== undefined) return maker.table(spec, kitchen);
      const source = maker.source!(spec, kitchen);
      return source === undefined ? undefined : encoded(source, kitchen);
    },
    source(spec) {
      const maker = makerOf(spec);
      if (maker.source !== undefined) return maker.source(spec, kitchen);
      throw new InputError("P0703", `\`${spec.make}\` gives rows of numbers where rows of text are wanted`);
    },
    words: (name) => tokenizerOf(context, name),
  };
  return kitchen;
}

function tokenizerOf(context: TableContext, name: string): TextTokenizer {
  const load = context.loadTokenizer ?? ((folder: string) => loadTokenizer(context.files, folder));
  const tokenizer = context.tokenizer === undefined ? undefined : load(context.tokenizer);
  if (tokenizer !== undefined) return tokenizer;
  const where = context.tokenizer === undefined ? "the stage's model comes from no folder" : `\`${context.tokenizer}\` has none`;
  throw new InputError("P0703", `${name} is text, and there is no tokenizer for it: ${where}`, [
    "tokenizer.json, vocab.json with merges.txt, or vocab.txt beside the model",
  ]);
}

function encoded(source: Source, kitchen: Kitchen): Table {
  const { columns, facts, without, classes, unread: more = [] } = encode(source, kitchen);
  const unread = [...(source.unread ?? []), ...more];
  const seen = { ...(without && { without }), ...(unread.length > 0 && { unread }), ...(classes && { classes }) };
  const table = { name: `\`${source.file}\``, rows: facts.length, columns, facts, ...seen };
  return source.packed === undefined || kitchen.promptsOnly ? table : packRows(table, kitchen.sequence, source.packed);
}

/** Rows as tokens, by the source's plan. */
function encode(source: Source, kitchen: Kitchen): EncodedRows {
  const { file, rows: all, part, plan } = source;
  const { tokenizer: folder, sequence, promptsOnly } = kitchen;
  const rows = rowsOf(source);
  if (plan.kind === "tokens") return givenTokens(source, plan, kitchen);
  const tokenizer = kitchen.words(`\`${file}\``);
  switch (plan.kind) {
    case "chat": {
      const talk = chatOf(source, plan, tokenizer, kitchen);
      return promptsOnly ? talk.encodePrompts(rows) : talk.encode(rows, sequence, source.written);
    }
    case "pairs":
      return encodePairs(rows, { tokenizer, file, sequence, chat: () => chatOf(source, plan, tokenizer, kitchen) });
    case "judged":
      return encodeJudged(rows, { tokenizer, file, sequence, chat: () => chatOf(source, plan, tokenizer, kitchen) });
    case "text": {
      const wanted = promptsOnly ? { ...plan, target: undefined, label: undefined, wordTags: undefined } : plan;
      const labels = numberingOf(source.spec ?? NO_CALL, kitchen, folder);
      return encodeRows(all, part, wanted, {
        file,
        tokenizer,
        sequence,
        separate: kitchen.separate === true,
        open: promptsOnly === true && kitchen.separate !== true,
        labels,
        written: source.written === true,
      });
    }
  }
}

function chatOf(
  source: Source,
  { template: name, given, date }: Omit<ChatPlan, "kind">,
  tokenizer: TextTokenizer,
  { files, tokenizer: folder }: Kitchen,
): Chat {
  const now = date === undefined ? undefined : new Date(`${date}T12:00`);
  const made = new Map<boolean, ReturnType<typeof chatTemplate>>();
  const templateFor = (row: Row) => {
    const tools = Array.isArray(row.values.tools);
    const template = made.get(tools) ?? chatTemplate(files, folder!, name, tools, now);
    made.set(tools, template);
    return template;
  };
  return new Chat(templateFor, tokenizer, source.file, given);
}

const NO_CALL = { make: "a table", options: {} };

/** Rows that are tokens in the file. */
function givenTokens(source: Source, plan: TokenPlan, kitchen: Kitchen): EncodedRows {
  const { files, tokenizer: folder } = kitchen;
  let label: ReturnType<typeof labelColumn> | undefined;
  const rows = rowsOf(source);
  const columns = new Map(plan.columns.map((name) => [name, givenColumn(rows, name, source.file)]));
  const config: ModelConfig = (folder === undefined ? undefined : readConfig(files, folder)) ?? {};
  const texts = columns.get("input_ids");
  // what rows are filled up with is no text, and neither are they where the file filled them up
  if (texts !== undefined && texts.rank === 1 && !columns.has("attention_mask"))
    columns.set("attention_mask", maskOf(texts, rows.length, config));
  if (texts !== undefined && plan.learnt !== undefined && plan.learnt.length > 0)
    columns.set("labels", maskedLabels(rows, texts, plan.learnt, source.file));
  refuseJoined(rows, plan, source.file);
  if (plan.label !== undefined) {
    label = labelColumn(source.rows, plan.label, numberingOf(source.spec ?? NO_CALL, kitchen, folder), source.file, source.part);
    columns.set("label", label.column);
  }
  const labels = columns.get("labels");
  const facts = rows.map(
    ({ line }, i): RowFacts => ({
      line,
      tokens: texts?.row(i).length ?? 0,
      labelled: labelCount(labels && Array.from(labels.row(i))),
    }),
  );
  return { columns, facts, ...(label?.classes && { classes: label.classes }) };
}

/** Labels of the tokens that no mask leaves out. P0709: a mask of another length, or of other numbers than 0 and 1. */
function maskedLabels(rows: readonly Row[], texts: Column, masks: readonly string[], file: string): Column {
  const lists = rows.map((row, i) => {
    const ids = Array.from(texts.row(i));
    const learnt = masks.map((name) => {
      const { values } = readArray(row, name, file);
      if (values.length === ids.length && values.every((value) => value === 0 || value === 1)) return values;
      throw new InputError(
        "P0709",
        `\`${file}\`, line ${row.line}: column \`${name}\` has ${values.length} numbers where 0 or 1 for each of ${ids.length} tokens is wanted`,
      );
    });
    return ids.map((id, at) => (learnt.every((mask) => mask[at] === 1) ? id : IGNORED));
  });
  return listColumn(lists, IGNORED);
}

/** P0735: rows of several texts, told apart by their places or lengths: here one text would read the others. */
function refuseJoined(rows: readonly Row[], { columns }: TokenPlan, file: string): void {
  const joined = (name: string, one: (values: readonly number[], real: (i: number) => boolean) => boolean) => {
    const row = columns.includes(name)
      ? undefined
      : rows.find(({ values }) => {
          const mask = Array.isArray(values.attention_mask) ? values.attention_mask : undefined;
          return (
            Array.isArray(values[name]) &&
            !one(
              values[name].map((value) => numberOf(value) ?? Number.NaN),
              (i) => mask === undefined || numberOf(mask[i]) !== 0,
            )
          );
        });
    if (row === undefined) return;
    throw new InputError("P0735", `\`${file}\`, line ${row.line}: \`${name}\` is that of several texts in one row`, [
      'give the texts apart: `packed: "documents"` puts them into shared rows here',
    ]);
  };
  joined("position_ids", (places, real) => places.filter((_, i) => real(i)).every((place, i) => place === i));
  joined("seq_lengths", (lengths) => lengths.length === 1);
}

/** 1 for each token, 0 for a model's filling behind the last one, where no text ends with that. */
function maskOf(texts: Column, rows: number, { pad_token_id: pad, eos_token_id: end }: ModelConfig): Column {
  const fills = typeof pad === "number" && pad !== end && !(Array.isArray(end) && end.includes(pad));
  const masks = Array.from({ length: rows }, (_, row) => {
    const ids = Array.from(texts.row(row));
    const last = fills ? ids.findLastIndex((id) => id !== pad) : ids.length - 1;
    return ids.map((_, i) => Number(i <= last));
  });
  return listColumn(masks, 0);
}
