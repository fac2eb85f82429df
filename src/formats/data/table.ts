/** Tables of rows of numbers: what a stage takes batches from. Rows of one column may differ in length; whoever makes batches fills them up with `pad`. */

export interface Column {
  /** Axes of a row: 0 for a number, 1 for a list, … */
  readonly rank: number;
  row(i: number): ArrayLike<number>;
  /** Sizes of a row; its numbers are row-major. */
  shape(i: number): readonly number[];
  /** What fills a row up. */
  readonly pad: number;
}

/** What became of a row of text. */
export interface RowFacts {
  /** Line, or number, of the row in its file. */
  readonly line: number;
  /** Tokens before anything was cut off. */
  readonly tokens: number;
  /** Of those, how many have a label; `undefined`: the table has no labels of tokens. */
  readonly labelled: number | undefined;
  /** Whether an answer begins within a token that also holds the end of its prompt. */
  readonly merged?: boolean;
  /** Whether a chat template writes its answers otherwise than they were when they came last. */
  readonly rewritten?: boolean;
}

export interface Table {
  /** For messages: the file, or the call. */
  readonly name: string;
  readonly rows: number;
  readonly columns: ReadonlyMap<string, Column>;
  /** Of rows that are made of text, one by one. */
  readonly facts?: readonly RowFacts[];
  /** Rows that were left out, and why. */
  readonly without?: { readonly rows: number; readonly why: string; readonly notes: readonly string[] };
  /** Columns of the file, and fields inside them, that nothing was made of. */
  readonly unread?: readonly string[];
  /** Names of the classes in `label`, where they have names. */
  readonly classes?: ReadonlyMap<string, number>;
  /** Rows of another table that come along with each batch: its columns are asked for by `prefix` and their name, `batch` rows at a time. */
  readonly beside?: { readonly prefix: string; readonly table: Table; readonly batch: number };
}

/** One number a row. */
export function numberColumn(values: ArrayLike<number>): Column {
  return { rank: 0, pad: 0, row: (i) => [values[i]], shape: () => [] };
}

/** One list a row. */
export function listColumn(rows: readonly ArrayLike<number>[], pad: number): Column {
  return { rank: 1, pad, row: (i) => rows[i], shape: (i) => [rows[i].length] };
}

/** One array a row, each with its shape, all of one rank. */
export function arrayColumn(
  rows: readonly { readonly values: ArrayLike<number>; readonly shape: readonly number[] }[],
  rank: number,
  pad: number,
): Column {
  return { rank, pad, row: (i) => rows[i].values, shape: (i) => rows[i].shape };
}

/** Rows of a table by number, in the order given; a number may come twice. */
export function pickRows(table: Table, picked: readonly number[], name = table.name): Table {
  const columns = [...table.columns].map(
    ([key, column]) =>
      [key, { ...column, row: (i: number) => column.row(picked[i]), shape: (i: number) => column.shape(picked[i]) }] as const,
  );
  const facts = table.facts && picked.map((i) => table.facts![i]);
  return { ...table, name, rows: picked.length, columns: new Map(columns), ...(facts && { facts }) };
}

/** Whether labels, if there are any, stand beside the tokens of the text. */
function besideTokens({ rows, columns }: Table): boolean {
  const [ids, labels] = [columns.get("input_ids"), columns.get("labels")];
  if (ids === undefined || labels === undefined) return true;
  for (let i = 0; i < rows; i++) if (ids.shape(i)[0] !== labels.shape(i)[0]) return false;
  return true;
}

/** The tables' rows one after another, with the columns that all have; `labels` of a table of texts without them are its tokens. */
export function joinTables(tables: readonly Table[], name: string): Table {
  const starts: number[] = [];
  let rows = 0;
  for (const table of tables) {
    starts.push(rows);
    rows += table.rows;
  }
  const place = (i: number): [table: number, row: number] => {
    let table = tables.length - 1;
    while (starts[table] > i) table--;
    return [table, i - starts[table]];
  };
  const columns = new Map<string, Column>();
  const names = new Map(tables.flatMap((table) => [...table.columns]));
  const whole = tables.every(besideTokens);
  for (const [key, first] of names) {
    // texts without labels beside texts with them are learnt whole, as they are alone
    const all = tables.flatMap(({ columns: own }) => own.get(key) ?? (key === "labels" && whole ? (own.get("input_ids") ?? []) : []));
    if (all.length < tables.length || all.some((column) => column.rank !== first.rank)) continue;
    columns.set(key, {
      rank: first.rank,
      pad: first.pad,
      row: (i) => {
        const [table, row] = place(i);
        return all[table].row(row);
      },
      shape: (i) => {
        const [table, row] = place(i);
        return all[table].shape(row);
      },
    });
  }
  const facts = tables.every((table) => table.facts !== undefined) ? tables.flatMap((table) => table.facts!) : undefined;
  const unread = [...new Set(tables.flatMap((table) => table.unread ?? []))];
  const classes = tables.find((table) => table.classes !== undefined)?.classes;
  return { name, rows, columns, ...(facts && { facts }), ...(unread.length > 0 && { unread }), ...(classes && { classes }) };
}

/** Which rows are trained on and which are held: the first `split` of them and the rest, at least one each where there are two. */
export function splitAt(rows: number, split: number): number {
  const main = Math.floor(rows * split);
  return rows < 2 ? rows : Math.min(Math.max(main, 1), rows - 1);
}
