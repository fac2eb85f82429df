/** Several rows of tokens in one, so that little of a batch is padding. */
import { InputError } from "../../ir/errors.ts";
import { IGNORED } from "./encode.ts";
import type { Packing } from "./source.ts";
import { type Column, listColumn, type Table } from "./table.ts";

/** Rows with room left that a new one is tried in: the first with enough takes it. */
const OPEN = 64;

/**
 * Rows of up to `sequence` tokens, in the order of the table as far as they fit, none of them parted. Columns `input_ids`, `attention_mask`, `special`, `labels` (of the tokens, where
 * the table has none). Documents that are kept apart have no label on their first token, which nothing before it tells, and a column `segment`: the number of a token's document in its
 * row, from 1. P0703: rows of something else than tokens, or no `sequence`.
 */
export function packRows(table: Table, sequence: number | undefined, how: Packing): Table {
  if (sequence === undefined)
    throw new InputError("P0703", `${table.name} is to be packed, which needs \`sequence\`: how many tokens a row has`);
  const ids = table.columns.get("input_ids");
  const extra = [...table.columns].find(([name, column]) => column.rank !== 1 || !PACKED.includes(name));
  if (ids === undefined || extra !== undefined)
    throw new InputError(
      "P0703",
      `${table.name} cannot be packed: ${extra === undefined ? "it has no tokens" : `column \`${extra[0]}\` belongs to a row, not to its tokens`}`,
    );
  const bins = fill(
    Array.from({ length: table.rows }, (_, i) => ids.shape(i)[0]),
    sequence,
  );
  const join = (of: (row: number, place: number) => ArrayLike<number>) =>
    bins.map((rows) => rows.flatMap((row, place) => Array.from(of(row, place))));
  const own = (name: string, otherwise: (row: number) => number[]) => {
    const column = table.columns.get(name);
    return (row: number) => (column === undefined ? otherwise(row) : column.row(row));
  };
  const apart = how === "documents";
  const labels = own("labels", (row) => Array.from(ids.row(row)));
  const columns = new Map<string, Column>([
    ["input_ids", listColumn(join(ids.row), ids.pad)],
    [
      "attention_mask",
      listColumn(
        join((row) => Array.from(ids.row(row), () => 1)),
        0,
      ),
    ],
    [
      "labels",
      listColumn(
        join((row) => Array.from(labels(row), (label, i) => (apart && i === 0 ? IGNORED : label))),
        IGNORED,
      ),
    ],
  ]);
  if (apart)
    columns.set(
      "segment",
      listColumn(
        join((row, place) => Array.from(ids.row(row), () => place + 1)),
        0,
      ),
    );
  const special = table.columns.get("special");
  if (special !== undefined) columns.set("special", listColumn(join(special.row), special.pad));
  return { name: table.name, rows: bins.length, columns };
}
/** Columns of tokens that packing knows how to put together. */
const PACKED: readonly string[] = ["input_ids", "attention_mask", "special", "labels", "token_type_ids"];

/** Which rows go together. */
function fill(lengths: readonly number[], most: number): number[][] {
  const bins: number[][] = [];
  let open: { rows: number[]; room: number }[] = [];
  lengths.forEach((length, row) => {
    let bin = open.find(({ room }) => room >= length);
    if (bin === undefined) {
      bin = { rows: [], room: most };
      bins.push(bin.rows);
      open = [...open.slice(-OPEN + 1), bin];
    }
    bin.rows.push(row);
    bin.room -= length;
  });
  return bins;
}
