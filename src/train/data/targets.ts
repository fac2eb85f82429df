/** Rows that a loss can be computed of: those with something to learn. */
import type { ColumnDecl } from "../../compiler/project.ts";
import { type Column, pickRows } from "../../formats/data/table.ts";
import { InputError } from "../../ir/errors.ts";
import type { DataTable } from "./columns.ts";

/** Columns that say what is to be learnt, where an objective reads them; `IGNORED` in them is nothing. */
const TARGETS = ["labels", "label", "tags"];
/** Whether a column says what is to be learnt. */
export const isTarget = (name: string): boolean => TARGETS.includes(name);
const IGNORED = -100;

/** Rows of the table without anything to learn in the first `sequence` tokens. */
export function targetless(columns: readonly ColumnDecl[], table: DataTable, sequence: number | undefined): number[] {
  const read = columns.filter(({ name, dtype }) => TARGETS.includes(name) && dtype !== "f32");
  if (read.length === 0) return [];
  const ids = columns.find(({ name }) => name === "input_ids");
  const mask = table.columns.get("attention_mask");
  const found = read.flatMap((decl): { column: Column; follows: boolean }[] => {
    const name = table.columns.has(decl.name) ? decl.name : decl.fallback?.kind === "column" ? decl.fallback.name : undefined;
    const column = name === undefined ? undefined : table.columns.get(name);
    // labels as long as the text are its own tokens, each told by those before it: the first is told by none
    const follows = decl.name === "labels" && ids !== undefined && String(ids.shape[1]) === String(decl.shape[1]);
    return column === undefined ? [] : [{ column, follows }];
  });
  const learns = (row: number): boolean =>
    found.some(({ column, follows }) => {
      const values = column.row(row);
      const seen = follows ? mask?.row(row) : undefined;
      const end = Math.min(values.length, column.rank === 0 ? 1 : (sequence ?? values.length));
      for (let i = follows ? 1 : 0; i < end; i++) if (values[i] !== IGNORED && seen?.[i] !== 0) return true;
      return false;
    });
  if (found.length === 0) return [];
  return Array.from({ length: table.rows }, (_, row) => row).filter((row) => !learns(row));
}

/** The table without those rows. P0711: nothing is left. */
export function withTargets(columns: readonly ColumnDecl[], table: DataTable, sequence: number | undefined): DataTable {
  const empty = new Set(targetless(columns, table, sequence));
  if (empty.size === 0) return table;
  const kept = Array.from({ length: table.rows }, (_, row) => row).filter((row) => !empty.has(row));
  if (kept.length === 0)
    throw new InputError("P0711", `none of the ${table.rows} rows of ${table.name} has anything to learn`, [
      "a text of one token, an empty one, or labels that are all -100 (also: behind the end of `sequence`) teach nothing",
    ]);
  return pickRows(table, kept);
}
