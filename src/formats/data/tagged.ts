/** Rows whose words lie in a list, with a class for each of them in another: what taggers learn. */
import { InputError } from "../../ir/errors.ts";
import { describe, type Json } from "../files.ts";
import { type ClassNames, missing, type Numbering, readLabels } from "./labels.ts";
import type { Row } from "./records.ts";

const WORDS = ["tokens", "words"];
const TAGS = ["tags", "ner_tags", "labels", "label", "pos_tags", "chunk_tags"];

export const isWords = (value: Json | undefined): boolean =>
  Array.isArray(value) && value.length > 0 && value.every((word) => typeof word === "string");

/** The columns of words and of their classes by their usual names. P0703: several have classes. `label`: what the program says they are called. */
export function taggedForm(
  { values }: Row,
  label: string | undefined,
  file: string,
): { words: string; tags: string | undefined } | undefined {
  const words = WORDS.find((name) => isWords(values[name]));
  if (words === undefined) return undefined;
  if (label !== undefined) return { words, tags: label };
  const long = (values[words] as readonly Json[]).length;
  const tags = TAGS.filter((name) => Array.isArray(values[name]) && values[name].length === long);
  if (tags.length > 1)
    throw new InputError(
      "P0703",
      `\`${file}\` has classes of words in ${tags.map((name) => `\`${name}\``).join(", ")}: \`label\` must say which are learnt`,
      [`for example \`label: "${tags[0]}"\``],
    );
  return tags.length === 0 ? undefined : { words, tags: tags[0] };
}

/** P0705: missing · P0709: no list of texts. */
export function readWords(row: Row, column: string, file: string): readonly string[] {
  const value = row.values[column];
  if (value === undefined || value === null) throw missing(row, column, file);
  const odd = Array.isArray(value) ? value.find((word) => typeof word !== "string") : value;
  if (!Array.isArray(value) || odd !== undefined)
    throw new InputError(
      "P0709",
      `\`${file}\`, line ${row.line}: column \`${column}\` ${Array.isArray(value) ? "has" : "is"} ${describe(odd)} where ${Array.isArray(value) ? "a word" : "a list of words"} is wanted`,
    );
  return value as readonly string[];
}

/**
 * The classes of words by row. Names are numbered as the labels of texts are, over all rows. P0705: missing · P0709: no list, or one of another length than the words ·
 * P0706 to P0708 of single classes.
 */
export function readTags(
  rows: readonly Row[],
  column: string,
  wordsOf: (row: Row) => readonly string[],
  numbering: Numbering,
  file: string,
): { readonly numbers: ReadonlyMap<Row, readonly number[]>; readonly classes?: ClassNames } {
  const lists = rows.map((row) => {
    const value = row.values[column];
    if (value === undefined || value === null) throw missing(row, column, file);
    if (!Array.isArray(value))
      throw new InputError(
        "P0709",
        `\`${file}\`, line ${row.line}: column \`${column}\` is ${describe(value)} where a class for each word is wanted`,
      );
    const words = wordsOf(row).length;
    if (value.length !== words)
      throw new InputError("P0709", `\`${file}\`, line ${row.line}: column \`${column}\` has ${value.length} classes for ${words} words`);
    return value as readonly Json[];
  });
  const single = lists.flatMap((list, i) => list.map((value): Row => ({ line: rows[i].line, values: { [column]: value } })));
  const { numbers, classes } = readLabels(single, column, numbering, file);
  const found = new Map<Row, readonly number[]>();
  let start = 0;
  for (const [i, row] of rows.entries()) {
    found.set(row, numbers.slice(start, start + lists[i].length));
    start += lists[i].length;
  }
  return { numbers: found, ...(classes && { classes }) };
}
