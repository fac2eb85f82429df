/** From rows of a table to the inputs of a graph: sizes are settled once for a stage, rows are padded to them. */
import type { ColumnDecl } from "../../compiler/project.ts";
import type { Column, Table } from "../../formats/data/table.ts";
import type { Values } from "../../ground/program.ts";
import { type Dim, substitute, symbolsOf } from "../../ir/dim.ts";
import { Bug, InputError } from "../../ir/errors.ts";
import type { DType, Graph } from "../../ir/graph.ts";
import { type Bound, indexBounds } from "../../ir/ops/bounds.ts";
import { type Outside, placesOutside } from "../../ir/ops/ranges.ts";
import { keyOf } from "../../ir/random.ts";
import { permutation } from "../stages/row-order.ts";

export type DataTable = Table;

/** Tokens a row is padded to, where the stage does not say: the longest row, up to a multiple of this. */
const BUCKET = 8;
export const roundUp = (n: number, step = BUCKET): number => Math.ceil(n / step) * step;

/** The symbol of the batch: the first size of every column. */
export function batchSymbol(columns: readonly ColumnDecl[]): string | undefined {
  for (const column of columns) {
    const [first] = column.shape.length === 0 ? [] : symbolsOf(column.shape[0]);
    if (first !== undefined) return first;
  }
  return undefined;
}

/**
 * A number for each symbol but the batch's. `sequence`: what the stage says, for the first column with a
 * list a row, and at most for the others; without it the longest row, rounded up. Columns that
 * the data does not have say nothing. P0734: a row of another shape than the column's fixed sizes.
 */
export function bindSizes(columns: readonly ColumnDecl[], table: DataTable, sequence: number | undefined): Map<string, number> {
  const batch = batchSymbol(columns);
  const sizes = new Map<string, number>();
  const longest = new Map<string, number>();
  const main = columns.flatMap((c) => (c.shape.length > 1 ? symbolsOf(c.shape[1]) : [])).find((name) => name !== batch);
  for (const decl of columns) {
    const found = sourceOf(decl, table);
    const column = found?.column;
    if (isBeside(decl, table)) for (const name of symbolsOf(decl.shape[0] ?? 0)) sizes.set(name, table.beside!.batch);
    // one number a row has no axis that is looked at below
    if (column !== undefined && decl.shape.length > 0 && column.rank !== decl.shape.length - 1)
      throw new InputError(
        "P0734",
        `column \`${decl.name}\` of ${table.name} has rows with ${axes(column.rank)}, where the objective wants [${decl.shape.join(", ")}]`,
        decl.name === "label" && column.rank === 1 ? ["several classes that may be true at once are for `multi_label`"] : [],
      );
    for (const [axis, dim] of decl.shape.slice(1).entries()) {
      for (const name of symbolsOf(dim)) if (name !== batch && !longest.has(name)) longest.set(name, 0);
      if (column === undefined) continue;
      const alone = typeof dim === "number" ? undefined : soleSymbol(dim);
      for (let i = 0; i < found!.table.rows; i++) {
        const size = column.shape(i)[axis];
        if (typeof dim === "number" && size !== dim) {
          throw new InputError(
            "P0734",
            `row ${i + 1} of column \`${decl.name}\` of ${found!.table.name} has size ${size} where ${dim} is wanted`,
          );
        }
        if (alone !== undefined) longest.set(alone, Math.max(longest.get(alone) ?? 0, size));
      }
    }
  }
  // numbers that are no tokens (a score for each class) stand for something each: nothing pads them
  const padded = new Set(columns.filter((c) => c.dtype !== "f32").flatMap((c) => c.shape.flatMap((dim) => symbolsOf(dim))));
  for (const [name, size] of longest) {
    if (!padded.has(name) && size > 0) {
      sizes.set(name, size);
      continue;
    }
    if (sequence === undefined && size === 0) throw new Bug(`nothing says how large ${name} is`);
    // what the stage says holds for the longest column; a shorter one (answers beside texts) is not padded to it
    sizes.set(name, sequence === undefined ? roundUp(size) : size === 0 || name === main ? sequence : Math.min(roundUp(size), sequence));
  }
  if (batch !== undefined) sizes.delete(batch);
  return sizes;
}

/** The column that says which document of its row a token belongs to. */
const SEGMENT = "segment";

const axes = (rank: number): string => (rank === 0 ? "no axis" : rank === 1 ? "one axis" : `${rank} axes`);

function soleSymbol(dim: Dim): string | undefined {
  const symbols = symbolsOf(dim);
  return symbols.length === 1 && String(dim) === symbols[0] ? symbols[0] : undefined;
}

/** Where a column's values come from. */
interface Source {
  readonly column: Column;
  readonly name: string;
  /** The table whose rows they are: the stage's, or the one beside it. */
  readonly table: DataTable;
}
function sourceOf(decl: ColumnDecl, table: DataTable): Source | undefined {
  const own = table.columns.get(decl.name);
  if (own !== undefined) return { column: asRows(own, decl), name: decl.name, table };
  const { beside } = table;
  if (beside !== undefined && decl.name.startsWith(beside.prefix)) {
    const name = decl.name.slice(beside.prefix.length);
    const column = beside.table.columns.get(name);
    if (column !== undefined) return { column: asRows(column, decl), name, table: beside.table };
  }
  if (decl.fallback?.kind !== "column") return undefined;
  const other = table.columns.get(decl.fallback.name);
  return other === undefined ? undefined : { column: asRows(other, decl), name: decl.fallback.name, table };
}

/** A column of numbers where rows of one number are wanted. */
const asRows = (column: Column, { shape }: ColumnDecl): Column =>
  column.rank === 0 && shape.length === 2 && shape[1] === 1 ? { ...column, rank: 1, shape: () => [1] } : column;

/** Whether a column's rows are those of the table beside the stage's, whether or not it has them. */
const isBeside = (decl: ColumnDecl, table: DataTable): boolean =>
  table.beside !== undefined && !table.columns.has(decl.name) && decl.name.startsWith(table.beside.prefix);

/** Rows of the table beside that come with these: drawn by their numbers, so that a run that is resumed or replayed draws the same; each once while there are enough. */
function rowsBeside({ table, batch }: NonNullable<DataTable["beside"]>, rows: readonly number[]): number[] {
  const order = permutation(table.rows, keyOf(0, "beside", rows.join(" ")), 0);
  return Array.from({ length: batch }, (_, i) => order[i % order.length]);
}

/**
 * Refuses a table that cannot serve the columns, before anything runs. P0730: no rows · P0732: a column that nobody gives · P0734: rows of
 * another shape · P0733: a value, or a place of a text, that the graph cannot look up · P0735: a value that is no number of the column's type · P0752: a row without tokens, or
 * whose labels or mask are of another length than its text. `sequence`: tokens that rows are cut to.
 */
export function checkTable(columns: readonly ColumnDecl[], graph: Graph, table: DataTable, sequence?: number): void {
  if (table.rows === 0) {
    throw new InputError("P0730", `${table.name} has no rows`, ["an empty file, or a split or `sequence` that leaves nothing"]);
  }
  if (table.columns.has(SEGMENT) && columns.every(({ name }) => name !== SEGMENT)) {
    throw new InputError("P0748", `rows of ${table.name} hold several documents, and nothing keeps them apart`, [
      'attach `Packed()` of "std/methods/packed" to the decoder, as in `attach packed = Packed() to gpt2.transformer`',
      'or pack it as a stream: `packed: "stream"`, where a token also sees the documents before its own',
    ]);
  }
  const bounds = indexBounds(graph);
  for (const decl of columns) {
    const source = sourceOf(decl, table);
    if (source === undefined) {
      if (decl.fallback?.kind === "constant") continue;
      throw new InputError("P0732", `${table.name} has no column \`${decl.name}\`, and it has no default`, [
        `it has: ${[...table.columns.keys()].join(", ")}`,
      ]);
    }
    checkValues(decl, source, bounds.get(decl.name));
  }
  checkLengths(columns, table);
  checkPlaces(columns, graph, table, sequence);
}

/** Line of a row in its file, where it is known. */
export const placeOf = (table: DataTable, row: number): string => {
  const line = table.facts?.[row]?.line;
  return line === undefined ? `row ${row + 1} of ${table.name}` : `${table.name}, line ${line}`;
};

/** What stands beside a text, a number for each of its tokens, is as long as the text. */
function checkLengths(columns: readonly ColumnDecl[], table: DataTable): void {
  const ids = columns.find(({ name }) => name === TEXT);
  const text = table.columns.get(TEXT);
  if (ids === undefined || text === undefined || text.rank !== 1) return;
  const learns = columns.some(({ name }) => name === "labels");
  for (let row = 0; row < table.rows && !learns; row++)
    if (text.shape(row)[0] === 0)
      throw new InputError("P0752", `${placeOf(table, row)}: the row has no tokens, so there is nothing that the model could read`, [
        "take the row out, or put something into its text",
      ]);
  for (const decl of columns) {
    const column = table.columns.get(decl.name);
    if (decl === ids || column?.rank !== 1 || String(decl.shape[1]) !== String(ids.shape[1])) continue;
    for (let row = 0; row < table.rows; row++) {
      const [wanted, seen] = [text.shape(row)[0], column.shape(row)[0]];
      if (wanted !== seen)
        throw new InputError("P0752", `${placeOf(table, row)}: \`${decl.name}\` has ${seen} numbers for ${wanted} tokens`, [
          decl.name === "labels"
            ? "labels stand beside the tokens one by one, with -100 where nothing is to be learnt"
            : "it has a number for each token",
        ]);
    }
  }
}
const TEXT = "input_ids";

/** Places of a text are rows of a table, where a model has one for them: no text may be longer than that. */
function checkPlaces(columns: readonly ColumnDecl[], graph: Graph, table: DataTable, sequence: number | undefined): void {
  const batch = batchSymbol(columns);
  const lengths = (row: number): Map<string, number> => {
    const sizes = new Map(batch === undefined ? [] : [[batch, 1]]);
    for (const decl of columns) {
      const name = decl.shape.length === 2 ? soleSymbol(decl.shape[1]) : undefined;
      const column = name === undefined ? undefined : sourceOf(decl, table);
      if (column === undefined || column.table !== table || column.column.rank !== 1) continue;
      const length = Math.min(column.column.shape(row)[0], sequence ?? Number.POSITIVE_INFINITY);
      sizes.set(name!, Math.max(sizes.get(name!) ?? 0, length));
    }
    return sizes;
  };
  const rows = Array.from({ length: table.rows }, (_, row) => lengths(row));
  for (const name of new Set(rows.flatMap((sizes) => [...sizes.keys()]))) {
    if (name === batch) continue;
    const row = rows.reduce((most, sizes, i) => ((sizes.get(name) ?? 0) > (rows[most].get(name) ?? 0) ? i : most), 0);
    const found = placesOutside(graph, rows[row]);
    if (found === undefined) continue;
    const most = longestThat((length) => placesOutside(graph, new Map([...rows[row], [name, length]])) === undefined, rows[row].get(name)!);
    if (most === undefined) continue;
    throw new InputError(
      "P0733",
      `${placeOf(table, row)} has ${rows[row].get(name)} tokens, but ${tableAt(found)} has ${found.rows} rows for places of a text`,
      [`texts may have at most ${most} tokens: \`sequence = ${most}\` cuts longer ones`],
    );
  }
}

export const tableAt = ({ at }: Outside): string => (at.origin.path === "" ? "a table of the model" : `\`${at.origin.path}\``);

/** The largest length below `from` that serves; none does: the length is not what is wrong. */
export function longestThat(serves: (length: number) => boolean, from: number): number | undefined {
  let [low, high] = [0, from];
  while (low < high - 1) {
    const middle = (low + high) >> 1;
    if (serves(middle)) low = middle;
    else high = middle;
  }
  return low === 0 ? undefined : low;
}

function checkValues(decl: ColumnDecl, { column, name, table }: Source, bound: Bound | undefined): void {
  for (let i = 0; i < table.rows; i++) {
    const row = column.row(i);
    for (let j = 0; j < row.length; j++) {
      const value = row[j];
      const place = () => `row ${i + 1} of column \`${name}\` of ${table.name}`;
      if (!Number.isFinite(value) || (decl.dtype !== "f32" && !Number.isInteger(value))) {
        throw new InputError("P0735", `${place()} holds ${value}, where ${decl.dtype === "f32" ? "a number" : "a whole number"} is wanted`);
      }
      // a mask that counts the texts of a row would let them look at each other
      if (decl.dtype === "bool" && value !== 0 && value !== 1)
        throw new InputError("P0735", `${place()} holds ${value}, where 0 or 1 is wanted`, [
          'numbers that tell texts of one row apart are not read: give the texts apart, `packed: "documents"` puts them into shared rows here',
        ]);
      if (bound === undefined || (value >= 0 && value < bound.below) || bound.except.includes(value)) continue;
      const where = bound.at.origin.path === "" ? "" : ` in ${bound.at.origin.path}`;
      throw new InputError("P0733", `${place()} holds ${value}, but only 0 .. ${bound.below - 1} exist${where}`, [
        "for labels: check `num_labels`; for tokens: check that the tokenizer is the model's",
      ]);
    }
  }
}

/** The columns of a batch, as a session takes them: `decl.shape` with `sizes` and the number of rows, row-major. Longer rows are cut. */
export function fillBatch(
  columns: readonly ColumnDecl[],
  table: DataTable,
  rows: readonly number[],
  sizes: ReadonlyMap<string, number>,
): Record<string, Values> {
  const inputs: Record<string, Values> = {};
  const second = table.beside && rowsBeside(table.beside, rows);
  for (const decl of columns) {
    const inner = decl.shape.slice(1).map((d) => number(substitute(d, sizes), decl.name));
    const width = inner.reduce((n, d) => n * d, 1);
    const picked = isBeside(decl, table) ? second! : rows;
    const out = make(decl.dtype, picked.length * width);
    const source = sourceOf(decl, table)?.column;
    if (source === undefined) {
      if (decl.fallback?.kind !== "constant") throw new Bug(`column ${decl.name} has no value`);
      out.fill(decl.fallback.value);
    } else {
      out.fill(source.pad);
      picked.forEach((row, i) => {
        copyInto(out, i * width, inner, source.row(row), source.shape(row));
      });
    }
    inputs[decl.name] = out;
  }
  return inputs;
}

function copyInto(out: Values, at: number, inner: readonly number[], from: ArrayLike<number>, shape: readonly number[]): void {
  if (inner.length <= 1) {
    const n = Math.min(inner[0] ?? 1, from.length);
    for (let j = 0; j < n; j++) out[at + j] = from[j];
    return;
  }
  const step = inner.slice(1).reduce((n, d) => n * d, 1);
  const fromStep = shape.slice(1).reduce((n, d) => n * d, 1);
  for (let k = 0; k < Math.min(inner[0], shape[0]); k++) {
    const piece = Array.from({ length: fromStep }, (_, j) => from[k * fromStep + j]);
    copyInto(out, at + k * step, inner.slice(1), piece, shape.slice(1));
  }
}

const make = (dtype: DType, n: number): Values => (dtype === "f32" ? new Float32Array(n) : new Int32Array(n));

function number(dim: Dim, column: string): number {
  if (typeof dim === "number") return dim;
  throw new Bug(`the size ${String(dim)} of column ${column} is not bound`);
}

/** Numbers of tokens that rows hold after cutting: of the first column with a list a row; rows where there is none. */
export function countTokens(
  columns: readonly ColumnDecl[],
  table: DataTable,
  rows: readonly number[],
  sizes: ReadonlyMap<string, number>,
): number {
  const decl = columns.find((c) => c.shape.length === 2 && table.columns.get(c.name)?.rank === 1);
  if (decl === undefined) return rows.length;
  const most = number(substitute(decl.shape[1], sizes), decl.name);
  const column = table.columns.get(decl.name)!;
  return rows.reduce((sum, row) => sum + Math.min(most, column.row(row).length), 0);
}

/** Everything a table holds, for hashing. */
export function* tablePieces(table: DataTable): Generator<string | ArrayBufferView> {
  for (const [name, column] of [...table.columns].sort(([a], [b]) => (a < b ? -1 : 1))) {
    yield `${name} ${column.rank} ${column.pad} ${table.rows}`;
    let numbers: number[] = [];
    for (let i = 0; i < table.rows; i++) {
      for (const size of column.shape(i)) numbers.push(size);
      const values = column.row(i);
      for (let j = 0; j < values.length; j++) numbers.push(values[j]);
      if (numbers.length < HASHED && i < table.rows - 1) continue;
      yield Float64Array.from(numbers);
      numbers = [];
    }
  }
  if (table.beside !== undefined) yield* tablePieces(table.beside.table);
}
/** Numbers that are hashed at once: enough to be quick, and an image or a few. */
const HASHED = 1 << 16;
