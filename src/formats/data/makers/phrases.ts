/** Keyphrases of documents, as lists or as one text, and where they stand in the words of a text: by stems, without the punctuation around words. */

import type { TableSpec } from "../../../ground/table.ts";
import { InputError } from "../../../ir/errors.ts";
import { own } from "../../../ir/own.ts";
import { describe } from "../../files.ts";
import { renderRow, wordsOf } from "../encode.ts";
import { porterStem } from "../porter.ts";
import type { Row } from "../records.ts";
import type { Source } from "../source.ts";
import { stringOption, wrong } from "../spec.ts";

/** How words are made comparable: one row a way. */
export const STEMS: Readonly<Record<string, (word: string) => string>> = { porter: porterStem, none: (word) => word };

export function stemOption(spec: TableSpec, usual: string): (word: string) => string {
  const name = stringOption(spec, "stem") ?? usual;
  const stem = own(STEMS, name);
  if (stem === undefined) throw wrong(spec, "`stem`", name, `one of ${Object.keys(STEMS).join(", ")}`);
  return stem;
}

/** Words as they are compared. */
export const keysOf = (text: string, stem: (word: string) => string): string[] =>
  wordsOf(text).map((word) => stem(word.toLowerCase().replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "")));

/** Where a phrase begins among the words, all of its occurrences. */
export function occurrences(phrase: readonly string[], words: readonly string[]): number[] {
  if (phrase.length === 0 || phrase.every((key) => key === "")) return [];
  return words.flatMap((_, at) => (phrase.every((key, i) => words[at + i] === key) ? [at] : []));
}

/** A row's phrases: a list, or a text with `;` between them. P0705, P0709: none, or something else. */
export function phrasesOf(row: Row, column: string, file: string): string[] {
  const value = row.values[column];
  const place = `\`${file}\`, line ${row.line}: column \`${column}\``;
  if (value === undefined || value === null)
    throw new InputError("P0705", `${place} is missing`, [`the row has ${Object.keys(row.values).join(", ")}`]);
  const list = typeof value === "string" ? value.split(";") : value;
  if (!Array.isArray(list) || !list.every((phrase): phrase is string => typeof phrase === "string"))
    throw new InputError("P0709", `${place} is ${describe(value)} where a list of phrases is wanted`);
  return list.map((phrase) => phrase.trim()).filter((phrase) => phrase !== "");
}

/** The text of a row that the model reads. P0703: the rows are no single texts. */
export function textOfRow(row: Row, source: Source, spec: TableSpec): string {
  const { plan } = source;
  if (plan.kind !== "text" || plan.inputs.length !== 1) throw new InputError("P0703", `\`${spec.make}\` takes a table of texts, one a row`);
  return renderRow(row, plan.inputs[0], plan, source.file);
}
