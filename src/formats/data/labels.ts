/** Labels out of a column: numbers as they are, names by the model's configuration or in order. */
import { InputError } from "../../ir/errors.ts";
import { describe, type Json } from "../files.ts";
import { Numeral, numberOf } from "../numeral.ts";
import type { Row } from "./records.ts";

/** Names of classes to their numbers. */
export type ClassNames = ReadonlyMap<string, number>;

/** What says which number a class has. */
export interface Numbering {
  /** The model's configuration. */
  readonly known: ClassNames | undefined;
  /** The program: all classes in their order. */
  readonly given?: readonly string[];
  /** Words that stand for classes in an objective, in its order: for each class one or several. Names of classes are then among them. */
  readonly words?: readonly (readonly string[])[];
  /** What the program trains on, for names that neither of these has. */
  readonly book?: ((names: readonly string[], file: string) => ClassNames | undefined) | undefined;
}

/** Names in the order of their characters, from 0 on. */
export const inOrder = (names: Iterable<string>): ClassNames => new Map([...new Set(names)].sort().map((name, i) => [name, i] as const));

/** The numbers of these names, and who says so. P0706: the program and the configuration disagree. */
function numbersOf(names: readonly string[], { known, given, words, book }: Numbering, file: string): { ids: ClassNames; who: string } {
  if (given !== undefined) {
    const odd = given.find((name, i) => known?.has(name) && known.get(name) !== i);
    if (odd !== undefined)
      throw new InputError(
        "P0706",
        `\`classes\` has ${JSON.stringify(odd)} as ${given.indexOf(odd)}, but the model's configuration as ${known!.get(odd)}`,
        ["take `classes` away, or give the classes in the order of the model's `id2label`"],
      );
    return { ids: new Map(given.map((name, i) => [name, i])), who: "`classes`" };
  }
  if (words !== undefined) {
    const odd = names.find((name) => !words.some((of) => of.includes(name)));
    if (odd !== undefined)
      throw new InputError(
        "P0706",
        `\`${file}\` names the class ${JSON.stringify(odd)}, and which of the objective's words stands for it is not said`,
        [
          `the words are ${words.map((of) => of.join(" or ")).join(", ")}`,
          'say the classes in the order of the words: `classes: ["…", "…"]`',
        ],
      );
    return { ids: new Map(words.flatMap((of, i) => of.map((word) => [word, i] as const))), who: "the objective's words" };
  }
  if (known !== undefined) return { ids: known, who: "the model's configuration" };
  const numbered = names.map((name) => /^LABEL_(\d+)$/.exec(name)?.[1]);
  if (numbered.every((number) => number !== undefined))
    return { ids: new Map(names.map((name, i) => [name, Number(numbered[i])])), who: "the number in them" };
  return { ids: book?.([...new Set(names)], file) ?? inOrder(names), who: "what is trained on" };
}

/** The names in a column of labels, or of lists of them; none: they are numbers. */
export function namesIn(rows: readonly Row[], column: string): string[] {
  const names = rows.flatMap((row) => row.values[column]).filter((value): value is string => typeof value === "string");
  return names.every(isNumeral) ? [] : [...new Set(names)];
}

/**
 * One number a row. Names get the numbers that the program, the model's configuration or what is trained on gives them; where none does, their place in sorted order. Strings that
 * are numbers, as CSV has them, are numbers if all are. P0705: missing · P0706: a name that has no number · P0707: of another kind, or names and numbers mixed · P0708: below 0
 * where whole.
 */
export function readLabels(
  rows: readonly Row[],
  column: string,
  numbering: Numbering,
  file: string,
): { numbers: number[]; classes?: ClassNames } {
  const place = (row: Row) => `\`${file}\`, line ${row.line}: ${column}`;
  const values = rows.map((row) => {
    const value = row.values[column];
    if (value === undefined || value === null) throw missing(row, column, file);
    if (typeof value === "boolean") return Number(value);
    if (value instanceof Numeral) return value.value;
    if (typeof value !== "number" && typeof value !== "string")
      throw new InputError("P0707", `${place(row)} is ${describe(value)} where a label is wanted, a number or a name`);
    return value;
  });
  const names = values.filter((value) => typeof value === "string");
  const named = numbering.known !== undefined || numbering.given !== undefined;
  if (names.length === 0 || (!named && names.every(isNumeral))) {
    const numbers = values.map(Number);
    const whole = numbers.every(Number.isInteger);
    const at = numbers.findIndex((value) => !Number.isFinite(value) || (whole && value < 0 && value !== -100));
    if (at >= 0)
      throw new InputError("P0708", `${place(rows[at])} is ${numbers[at]}, which is no label`, [
        "classes are counted from 0; -100 is passed over",
      ]);
    return { numbers };
  }
  if (names.length < values.length) {
    const at = values.findIndex((value) => typeof value === "number");
    throw new InputError(
      "P0707",
      `${place(rows[at])} is the number ${values[at]}, where other rows have names such as ${JSON.stringify(names[0])}`,
    );
  }
  const { ids, who } = numbersOf(names, numbering, file);
  const numbers = names.map((name, i) => {
    const id = ids.get(name) ?? (isNumeral(name) && [...ids.values()].includes(Number(name)) ? Number(name) : undefined);
    if (id === undefined)
      throw new InputError("P0706", `${place(rows[i])} is ${JSON.stringify(name)}, which ${who} does not name`, [
        `it names ${[...ids.keys()].join(", ")}`,
      ]);
    return id;
  });
  return { numbers, classes: ids };
}

function isNumeral(text: string): boolean {
  return /^\s*-?\d+(\.\d+)?([eE][-+]?\d+)?\s*$/.test(text);
}

/** P0705, with what there is instead. */
export function missing(row: Row, column: string, file: string): InputError {
  const why = row.values[column] === null ? "is null" : "is missing";
  return new InputError("P0705", `\`${file}\`, line ${row.line}: column \`${column}\` ${why}`, [
    `the row has ${Object.keys(row.values).join(", ") || "no columns"}`,
  ]);
}

/** Numbers of a column that goes to the model as it is: a number, a list, lists of lists of equal length. P0705, P0709: something else. */
export function readArray(row: Row, column: string, file: string): { values: number[]; shape: number[] } {
  const value = row.values[column];
  if (value === undefined || value === null) throw missing(row, column, file);
  const values: number[] = [];
  const shape: number[] = [];
  const bad = (what: string) => new InputError("P0709", `\`${file}\`, line ${row.line}: column \`${column}\` ${what}`);
  let leaf: number | undefined;
  const walk = (item: Json, depth: number): void => {
    if (Array.isArray(item)) {
      if (leaf !== undefined && depth >= leaf) throw bad("has numbers and lists on one level");
      shape[depth] ??= item.length;
      if (shape[depth] !== item.length) throw bad(`has lists of ${shape[depth]} and of ${item.length} on one level`);
      for (const inner of item) walk(inner, depth + 1);
      return;
    }
    if (depth !== (leaf ?? Math.max(depth, shape.length))) throw bad("has numbers and lists on one level");
    leaf = depth;
    const number = numberOf(item);
    if (number !== undefined) values.push(number);
    else if (typeof item === "boolean") values.push(Number(item));
    // tables of text have texts alone; a text in a list was written as one
    else if (typeof item === "string" && depth === 0 && isNumeral(item)) values.push(Number(item));
    else throw bad(`holds ${describe(item)} where numbers are wanted`);
  };
  walk(value, 0);
  return { values, shape };
}
