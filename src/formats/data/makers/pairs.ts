/** `pairs`: a prompt with a better and a worse answer: rows of a file that have both, or the answers of two tables. */

import type { TableSpec } from "../../../ground/table.ts";
import { InputError } from "../../../ir/errors.ts";
import type { Json } from "../../files.ts";
import { numberOf } from "../../numeral.ts";
import { isConversation, messagesOf } from "../conversation.ts";
import type { Row } from "../records.ts";
import { rowsOf, type Source } from "../source.ts";
import { isSpec, type Kitchen, type Maker, stringOption, wrong } from "../spec.ts";
import { readRows, sourceOf } from "./records.ts";

export const pairs: Maker = {
  source(spec, kitchen) {
    const [chosen, rejected] = spec.args;
    if (typeof chosen === "string") return sourceOf(readRows(chosen, kitchen), chosen, spec, kitchen, "pairs");
    if (!isSpec(chosen) || !isSpec(rejected)) throw wrong(spec, "argument 1", chosen, "the path of a file, or a table beside another");
    const both = [answersOf(chosen, kitchen), answersOf(rejected, kitchen)];
    return sourceOf(joined(both[0], both[1], stringOption(spec, "by")), both[1].file, spec, kitchen, "pairs");
  },
};

function answersOf(spec: TableSpec, kitchen: Kitchen): Source {
  const source = kitchen.source(spec);
  if (source === undefined) throw new InputError("P0731", `\`${spec.make}\` has no held-out part`, ["give it `split:`"]);
  return source;
}

/**
 * Row by row: the prompt of the second table with the answer of the first and of the second. `by`: a column of scores that both have; the answer with the larger one is the better,
 * and rows with equal ones are left out. P0703: tables of different lengths, no answers, no scores, no row left.
 */
function joined(chosen: Source, rejected: Source, by: string | undefined): Row[] {
  const [won, lost] = [rowsOf(chosen), rowsOf(rejected)];
  if (won.length !== lost.length)
    throw new InputError("P0703", `pairs are made row by row, but one table has ${won.length} rows and the other ${lost.length}`);
  const rows = won.flatMap((row, i): Row[] => {
    const other = lost[i];
    const prompt = promptOf(other, rejected.file);
    const [a, b] = [answerOf(row, chosen.file), answerOf(other, rejected.file)];
    const order = by === undefined ? 1 : scoreOf(row, by, chosen.file) - scoreOf(other, by, rejected.file);
    if (order === 0) return [];
    return [{ line: other.line, values: { prompt, chosen: order > 0 ? a : b, rejected: order > 0 ? b : a } }];
  });
  if (rows.length === 0) throw new InputError("P0703", `no row is left to pair: their \`${by}\` are equal`);
  return rows;
}

/** What was asked: messages, or a text. */
function promptOf(row: Row, file: string): Json {
  if (!isConversation(row)) return row.values.prompt ?? row.values.text;
  const messages = messagesOf(row, file);
  return messages.at(-1)?.role === "assistant" ? messages.slice(0, -1) : messages;
}

function answerOf(row: Row, file: string): string {
  const answer = row.values.answer ?? row.values.completion;
  if (typeof answer === "string") return answer;
  throw new InputError("P0703", `\`${file}\`, line ${row.line} has no answer to pair`, [
    "pairs are made of what `generate` wrote, or of a file whose rows have `chosen` and `rejected`",
  ]);
}

function scoreOf(row: Row, by: string, file: string): number {
  const score = numberOf(row.values[by]);
  if (score !== undefined) return score;
  throw new InputError("P0703", `\`${file}\`, line ${row.line} has no number \`${by}\` to tell the better answer by`, [
    `it has ${Object.keys(row.values).join(", ")}`,
    "without `by:` the answers of the first table are the better ones",
  ]);
}
