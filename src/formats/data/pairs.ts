/** A prompt with a better and a worse answer, for objectives that learn from preferences. */
import { InputError } from "../../ir/errors.ts";
import type { Json } from "../files.ts";
import { numberOf } from "../numeral.ts";
import type { TextTokenizer } from "../tokenizer/tokenizer.ts";
import { type Chat, sharedTokens } from "./chat.ts";
import { placeOf, readMessages } from "./conversation.ts";
import type { EncodedRows } from "./encode.ts";
import type { Message } from "./messages.ts";
import type { Row } from "./records.ts";
import { listColumn, numberColumn, type RowFacts } from "./table.ts";

interface PairRow {
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
  /** Tokens that both begin with and that are not scored. */
  readonly prompt: number;
}

/** What an objective of preferences makes of them: the same loss whatever the model says. */
const SAME = "both answers are the same, so there is nothing to prefer";
const HINT = "answers that are written at a temperature of 0 are all alike: give `generate` a temperature, or `sequence` more room";

/**
 * Pairs whose answers are the same tokens are left out. Columns `chosen`, `chosen_mask`, `rejected`, `rejected_mask` and `prompt_length`. A row (see `readPair`) has `chosen` and
 * `rejected`, texts behind a `prompt`, or messages behind those of `prompt`. P0711: the prompt leaves no room for an answer · P0703: no pair is left.
 */
export function encodePairs(
  rows: readonly Row[],
  { tokenizer, chat, file, sequence }: { tokenizer: TextTokenizer; chat: () => Chat; file: string; sequence: number | undefined },
): EncodedRows {
  const all = rows.map((row): PairRow => {
    const [won, lost] = [row.values.chosen, row.values.rejected].map((answer) => answered(row, answer, tokenizer, chat, file));
    return { chosen: won.ids, rejected: lost.ids, prompt: Math.min(won.front, lost.front) };
  });
  const talks = rows.filter(({ values }) => typeof values.chosen !== "string");
  const unread = talks.length === 0 ? [] : chat().unread(talks, (row) => [...turns(row, "prompt", file), ...turns(row, "chosen", file)]);
  const cut = (ids: readonly number[]) => ids.slice(0, sequence);
  const empty = all.findIndex(({ chosen, rejected, prompt }) => Math.min(cut(chosen).length, cut(rejected).length) <= prompt);
  if (empty >= 0) {
    const { prompt } = all[empty];
    throw new InputError(
      "P0711",
      `\`${file}\`, line ${rows[empty].line}: its prompt takes ${prompt} tokens, so ${sequence === undefined ? "nothing" : `sequence = ${sequence} leaves nothing`} of an answer${sequence === undefined ? " stands behind it" : ""}`,
    );
  }
  const differ = all.map(({ chosen, rejected }) => cut(chosen).join() !== cut(rejected).join());
  const [pairs, kept] = [all.filter((_, i) => differ[i]), rows.filter((_, i) => differ[i])];
  const gone = rows.filter((_, i) => !differ[i]);
  if (gone.length > 0 && pairs.length === 0)
    throw new InputError("P0703", `\`${file}\` leaves no pair: in all ${rows.length} rows ${SAME}`, [HINT]);
  const pad = tokenizer.ids.pad ?? tokenizer.ids.eos ?? 0;
  const ids = (name: "chosen" | "rejected") => pairs.map((pair) => cut(pair[name]));
  const mask = (name: "chosen" | "rejected") => ids(name).map((row) => row.map(() => 1));
  const columns = new Map([
    ["chosen", listColumn(ids("chosen"), pad)],
    ["chosen_mask", listColumn(mask("chosen"), 0)],
    ["rejected", listColumn(ids("rejected"), pad)],
    ["rejected_mask", listColumn(mask("rejected"), 0)],
    ["prompt_length", numberColumn(pairs.map(({ prompt }) => prompt))],
  ]);
  const margins = kept.map(({ values }) => numberOf(values.margin));
  if (margins.some((margin) => margin !== undefined)) {
    const none = margins.indexOf(undefined);
    if (none >= 0) throw new InputError("P0709", `\`${file}\`, line ${kept[none].line} has no number \`margin\`, and other rows have`);
    columns.set("margin", numberColumn(margins as number[]));
  }
  const facts = pairs.map(({ chosen, rejected, prompt }, i): RowFacts => {
    const tokens = Math.max(chosen.length, rejected.length);
    return { line: kept[i].line, tokens, labelled: tokens - prompt };
  });
  const without = gone.length === 0 ? undefined : { rows: gone.length, why: SAME, notes: [`line ${gone[0].line} is the first`, HINT] };
  return { columns, facts, unread, ...(without && { without }) };
}

/** A prompt with an answer as tokens, of which the first `front` are the prompt's. */
export interface Answered {
  readonly ids: readonly number[];
  readonly front: number;
}

/** The row's prompt with an answer: texts, or messages. */
export function answered(row: Row, answer: Json | undefined, tokenizer: TextTokenizer, chat: () => Chat, file: string): Answered {
  if (typeof answer === "string" && typeof row.values.prompt === "string") return plain(row.values.prompt, answer, tokenizer);
  const [prompt, said] = [turns(row, "prompt", file), turnsOf(row, answer, "chosen", file)];
  const ids = chat().tokens(row, [...prompt, ...said], false);
  return { ids, front: sharedTokens(chat().tokens(row, prompt, true), ids) };
}

/** Texts: the prompt in the tokenizer's frame, then an answer, then the end. */
function plain(prompt: string, answer: string, tokenizer: TextTokenizer): Answered {
  const both = tokenizer.encodeBehind(prompt, answer);
  const framed = tokenizer.frame(both.first, undefined);
  let head = framed.ids.length;
  while (head > 0 && framed.special[head - 1] && tokenizer.specials.has(framed.ids[head - 1])) head--;
  // all of it is special: an empty prompt, whose frame stands in front
  const tail = head === 0 ? [] : framed.ids.slice(head);
  const front = head === 0 ? framed.ids : framed.ids.slice(0, head);
  const end = tail.length > 0 ? tail : tokenizer.ids.eos === undefined ? [] : [tokenizer.ids.eos];
  return { ids: [...front, ...both.second, ...end], front: front.length };
}

export const turns = (row: Row, name: "prompt" | "chosen" | "rejected", file: string): Message[] =>
  turnsOf(row, row.values[name], name, file);

const turnsOf = (row: Row, list: Json | undefined, name: string, file: string): Message[] =>
  Array.isArray(list) && list.length === 0 ? [] : readMessages(list, name, placeOf(row, file));
