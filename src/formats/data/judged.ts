/** Answers that are wished for or not, each with its prompt, for objectives that need no pairs (KTO). */
import { InputError } from "../../ir/errors.ts";
import { describe, type Json, type JsonRecord } from "../files.ts";
import type { TextTokenizer } from "../tokenizer/tokenizer.ts";
import type { Chat } from "./chat.ts";
import { placeOf, type Read, readPair, type TalkOptions } from "./conversation.ts";
import type { EncodedRows } from "./encode.ts";
import { type Answered, answered, turns } from "./pairs.ts";
import type { Row } from "./records.ts";
import { listColumn, numberColumn, type RowFacts } from "./table.ts";

const ANSWERS = ["completion", "response", "output", "answer"];
/** Columns that say whether an answer is wished for; the first that a row has. */
const LABELS = ["label", "kto_tag"];
const YES: readonly Json[] = [true, 1, "true", "True"];
const NO: readonly Json[] = [false, 0, "false", "False"];

const filled = (value: Json | undefined): boolean => value !== undefined && value !== null;

/** Rows with `prompt`, `chosen` (the answer) and `wanted`: one, or two of a pair. P0715: no such row · P0707: a label that is neither true nor false. */
export function readJudged(row: Row, file: string, options: TalkOptions, spoken: boolean, label: string | undefined): Read[] {
  const { values } = row;
  const place = placeOf(row, file, options.roles);
  const paired = filled(values.chosen) || filled(values.preferred_output);
  if (paired) {
    const { row: both, read } = readPair(row, file, options, spoken);
    const { chosen, rejected, ...rest } = both.values;
    return [
      { row: { ...both, values: { ...rest, chosen, wanted: 1 } }, read },
      { row: { ...both, values: { ...rest, chosen: rejected, wanted: 0 } }, read },
    ];
  }
  const name = ANSWERS.find((column) => filled(values[column]));
  const flag = label ?? LABELS.find((column) => filled(values[column]));
  if (name === undefined)
    throw place.bad(
      "completion is missing",
      "a row has `prompt`, `completion` and `label`, or is a pair",
      `the row has ${Object.keys(values).join(", ")}`,
    );
  if (flag === undefined || !filled(values[flag]))
    throw place.bad(
      `${flag ?? LABELS[0]} is missing: whether the answer is wished for`,
      "true or false",
      `the row has ${Object.keys(values).join(", ")}`,
    );
  const told = values[flag];
  if (!YES.includes(told) && !NO.includes(told))
    throw new InputError("P0707", `\`${file}\`, line ${row.line}: ${flag} is ${describe(told)} where true or false is wanted`);
  const { [name]: answer, [flag]: _, ...rest } = values;
  // the forms of pairs, with a second answer that nothing is made of
  const other = typeof answer === "string" ? "\0" : [{ role: "assistant", content: "-" }];
  const { row: both, read } = readPair(
    { ...row, values: { ...rest, chosen: answer, rejected: other } as JsonRecord },
    file,
    options,
    spoken,
  );
  const { rejected: __, prompt, ...found } = both.values;
  if (prompt === undefined || prompt === "" || (Array.isArray(prompt) && prompt.length === 0))
    throw place.bad("prompt is missing", "what the answer answers", `the row has ${Object.keys(values).join(", ")}`);
  const all = new Set([...read, name, flag].filter((column) => column !== "chosen" && column !== "rejected"));
  return [{ row: { ...both, values: { ...found, prompt, wanted: YES.includes(told) ? 1 : 0 } }, read: all }];
}

/**
 * Columns `input_ids`, `attention_mask`, `prompt_length` and `wanted` (0 or 1); `kl_ids`, `kl_mask` and `kl_prompt_length` of each prompt with the answer of the row before it, the
 * first with the last one's. P0711: a prompt leaves no room for an answer · P0703: one row alone.
 */
export function encodeJudged(
  rows: readonly Row[],
  { tokenizer, chat, file, sequence }: { tokenizer: TextTokenizer; chat: () => Chat; file: string; sequence: number | undefined },
): EncodedRows {
  if (rows.length < 2)
    throw new InputError("P0703", `\`${file}\` has one answer: how far any answer has moved is told by those to other prompts`, [
      "give more rows",
    ]);
  const cut = (ids: readonly number[]) => ids.slice(0, sequence);
  const made = rows.map((row, i) => {
    const before = rows[(i + rows.length - 1) % rows.length];
    const own = answered(row, row.values.chosen, tokenizer, chat, file);
    const other = answered(row, before.values.chosen, tokenizer, chat, file);
    for (const { ids, front } of [own, other])
      if (cut(ids).length <= front)
        throw new InputError(
          "P0711",
          `\`${file}\`, line ${row.line}: its prompt takes ${front} tokens, so ${sequence === undefined ? "nothing stands behind it" : `sequence = ${sequence} leaves nothing of an answer`}`,
        );
    return { own, other };
  });
  const talks = rows.filter(({ values }) => typeof values.chosen !== "string");
  const unread = talks.length === 0 ? [] : chat().unread(talks, (row) => [...turns(row, "prompt", file), ...turns(row, "chosen", file)]);
  const pad = tokenizer.ids.pad ?? tokenizer.ids.eos ?? 0;
  const of = (which: "own" | "other"): Answered[] => made.map((one) => one[which]);
  const ids = (which: "own" | "other") => of(which).map((one) => cut(one.ids));
  const columns = new Map([
    ["input_ids", listColumn(ids("own"), pad)],
    [
      "attention_mask",
      listColumn(
        ids("own").map((row) => row.map(() => 1)),
        0,
      ),
    ],
    ["prompt_length", numberColumn(of("own").map(({ front }) => front))],
    ["wanted", numberColumn(rows.map(({ values }) => Number(values.wanted)))],
    ["kl_ids", listColumn(ids("other"), pad)],
    [
      "kl_mask",
      listColumn(
        ids("other").map((row) => row.map(() => 1)),
        0,
      ),
    ],
    ["kl_prompt_length", numberColumn(of("other").map(({ front }) => front))],
  ]);
  const facts = made.map(({ own }, i): RowFacts => ({ line: rows[i].line, tokens: own.ids.length, labelled: own.ids.length - own.front }));
  return { columns, facts, unread };
}
