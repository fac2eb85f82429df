/** `scored`: rows with a number each that a function of the library's user gives. */

import type { TableSpec } from "../../../ground/table.ts";
import { InputError } from "../../../ir/errors.ts";
import type { Json } from "../../files.ts";
import { mapRows, rowsOf, type Source } from "../source.ts";
import { innerSpec, isSpec, type Kitchen, type Maker, wrong } from "../spec.ts";
import { numberColumn } from "../table.ts";

/** What a function is given of a row: its columns, among them `prompt` and `answer` of what `generate` wrote. */
export type RowValues = Readonly<Record<string, Json>>;
/** A number for each row, in their order. */
export type RowFunction = (rows: readonly RowValues[]) => readonly number[] | Promise<readonly number[]>;

const nameOf = (spec: TableSpec): string => {
  const [, name] = spec.args;
  if (typeof name !== "string") throw wrong(spec, "argument 2", name, "the name of a function");
  return name;
};

/** The calls in a table's description, the innermost first; what a held-out part is made of is held, as in `innerSpec`. */
export function calledIn(spec: TableSpec): TableSpec[] {
  const held = (one: TableSpec): TableSpec => (spec.part === "held" ? { ...one, part: "held" } : one);
  const inner = spec.args.flat().filter(isSpec).map(held).flatMap(calledIn);
  return spec.make === "scored" ? [...inner, spec] : inner;
}

/** Calls the function. P0754: nobody gave it, or what it gives is no number for each row. */
export async function callFunction(
  spec: TableSpec,
  source: Source,
  functions: Readonly<Record<string, RowFunction>>,
): Promise<readonly number[]> {
  const name = nameOf(spec);
  const asked = Object.hasOwn(functions, name) ? functions[name] : undefined;
  if (asked === undefined)
    throw new InputError("P0754", `\`scored\` asks for the function \`${name}\`, which nobody gave`, [
      `the library's user gives it: train(file, { functions: { ${name}: (rows) => rows.map(…) } })`,
      "in a program alone, a reward is a column of `predict`",
    ]);
  const rows = rowsOf(source);
  const scores = await asked(rows.map(({ values }) => values));
  const bad = Array.isArray(scores) ? scores.findIndex((score) => typeof score !== "number" || !Number.isFinite(score)) : 0;
  if (!Array.isArray(scores) || scores.length !== rows.length || bad >= 0)
    throw new InputError(
      "P0754",
      `the function \`${name}\` was given ${rows.length} rows and gives ${Array.isArray(scores) ? `${scores.length} values${bad >= 0 ? `, the one at ${bad} being ${String(scores[bad])}` : ""}` : String(scores)}`,
      ["it gives a list of finite numbers, one for each row"],
    );
  return scores;
}

const scoresOf = (spec: TableSpec, kitchen: Kitchen): readonly number[] | undefined => kitchen.scores?.get(JSON.stringify(spec));

export const scored: Maker = {
  source(spec, kitchen) {
    const base = kitchen.source(innerSpec(spec));
    if (base === undefined) return undefined;
    const rows = rowsOf(base);
    const scores = scoresOf(spec, kitchen)!;
    return mapRows({ ...base, rows, part: [0, rows.length] }, (row, i) => ({ ...row.values, [nameOf(spec)]: scores[i] }));
  },
  table(spec, kitchen) {
    const table = kitchen.table(innerSpec(spec));
    const scores = scoresOf(spec, kitchen)!;
    if (table === undefined || table.rows !== scores.length) return table;
    return { ...table, columns: new Map([...table.columns, [nameOf(spec), numberColumn(scores)]]) };
  },
};
