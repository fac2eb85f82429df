/** Labels out of a column: numbers as they are, names by the model's configuration or in order. */
import { InputError } from "../../ir/errors.ts";
import { describe, type Json } from "../files.ts";
import { Numeral, numberOf } from "../numeral.ts";
import type { Row } from "./records.ts";

/**
 * One number a row. Names get the numbers that `known` (the configuration's) gives them; where it has none, their place in sorted order. Strings that are numbers, as CSV
 * has them, are numbers if all are. P0705: missing · P0706: a name that the configuration lacks · P0707: of another kind, or names and numbers mixed · P0708: below 0 where whole.
 */
export function readLabels(rows: readonly Row[], column: string, known: ReadonlyMap<string, number> | undefined, file: string): number[] {
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
  if (names.length === 0 || (known === undefined && names.every(isNumeral))) {
    const numbers = values.map(Number);
    const whole = numbers.every(Number.isInteger);
    const at = numbers.findIndex((value) => !Number.isFinite(value) || (whole && value < 0 && value !== -100));
    if (at >= 0)
      throw new InputError("P0708", `${place(rows[at])} is ${numbers[at]}, which is no label`, [
        "classes are counted from 0; -100 is passed over",
      ]);
    return numbers;
  }
  if (names.length < values.length) {
    const at = values.findIndex((value) => typeof value === "number");
    throw new InputError(
      "P0707",
      `${place(rows[at])} is the number ${values[at]}, where other rows have names such as ${JSON.stringify(names[0])}`,
    );
  }
  const ids = known ?? new Map([...new Set(names)].sort().map((name, i) => [name, i] as const));
  return names.map((name, i) => {
    const id = ids.get(name) ?? (isNumeral(name) && [...ids.values()].includes(Number(name)) ? Number(name) : undefined);
    if (id === undefined) {
      throw new InputError("P0706", `${place(rows[i])} is ${JSON.stringify(name)}, which the model's configuration does not name`, [
        `it names ${[...ids.keys()].join(", ")}`,
      ]);
    }
    return id;
  });
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
    else if (typeof item === "string" && isNumeral(item)) values.push(Number(item));
    else throw bad(`holds ${describe(item)} where numbers are wanted`);
  };
  walk(value, 0);
  return { values, shape };
}
