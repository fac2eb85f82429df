import type { Command } from "commander";
import pc from "picocolors";
import type { DatasetSpec, Project, Stage } from "../../compiler/project.ts";
import { InputError } from "../../ir/errors.ts";
import { checkTables } from "../../train/data/checks.ts";
import { checkTable } from "../../train/data/columns.ts";
import { type Facts, factsOf, type StageTable, stageTables, unreadIn, type View, viewsOf, type Words } from "../../train/data/inspect.ts";
import { entriesOf } from "../../train/engine/entries.ts";
import { stagesOf } from "../../train/stages/stages.ts";
import { type CommonOptions, common, Session, wholeNumber } from "../context.ts";
import { line, Rejected, reportProblems, Usage } from "../errors.ts";
import type { Io } from "../io.ts";
import { grouped, table } from "../table.ts";

interface DataCommand extends CommonOptions {
  readonly rows: string;
}

/** `data`: rows as the model sees them, with what is learnt of each token; how long they are; what looks wrong. Nothing is computed. */
export function data(program: Command, io: Io): void {
  common(program.command("data").argument("<file>", "a .peft file"), { runs: false })
    .description("show the data of every stage: rows in tokens, which of them are learnt, lengths, what is cut off or looks wrong")
    .option("--rows <number>", "rows to show of each table", "3")
    .addHelpText(
      "after",
      "\nExample:\n  peftc data specs/examples/quickstart.peft --rows 1\n\nWhat is learnt stands between « and » where there are no colours; train makes the same checks before it starts.\n",
    )
    .action(async (file: string, options: DataCommand) => {
      const session = new Session(io, options, true);
      const rows = wholeNumber("--rows", options.rows);
      const project = session.open(file);
      if (stagesOf(project).length === 0) throw new Usage(`${file} has no stage that reads data`, ["add `train { ... }`"]);
      const failed = await showAll(project, session, rows);
      if (failed) throw new Rejected("the data have errors");
    });
}

/** Whether a table could not be made. */
async function showAll(project: Project, session: Session, rows: number): Promise<boolean> {
  const { io, json } = session;
  const tables = session.workspace.tables(project);
  let failed = false;
  for (const stage of stagesOf(project)) {
    const tokenizer = stage.tokenizer === undefined ? undefined : session.workspace.sources.readTokenizer(stage.tokenizer);
    const sequence = "sequence" in stage ? stage.sequence : undefined;
    let made: StageTable[] = [];
    let uncut = false;
    const read = (most: number | undefined) =>
      stageTables(
        stage,
        (spec) => tables.table({ spec, tokenizer: stage.tokenizer, separate: stage.separate, sequence: most, entries: entriesOf(stage) }),
        tokenizer,
      );
    try {
      made = await read(sequence);
      for (const { columns, graph, table, spec } of made) attempt(() => checkTable(columns, graph, table, sequence), spec.span);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      if (error.code === LATER) {
        later(stage, session);
        continue;
      }
      failed = true;
      const { code, message, span, notes } = error;
      reportProblems([{ code, severity: "error", message, span, notes }], io, json, session.source);
      // rows of which `sequence` leaves nothing are shown whole
      if (code === NOTHING_LEFT && made.length === 0 && sequence !== undefined) {
        uncut = true;
        made = await whole(() => read(undefined));
      }
    }
    for (const inspected of made) {
      if (json) io.out(factsJson(inspected, factsOf(inspected)));
      else io.out(factsText(inspected, factsOf(inspected)));
      for (let row = 0; row < Math.min(rows, inspected.table.rows); row++)
        io.out(json ? rowJson(inspected, row) : rowText(inspected, row, io.color));
    }
    if (!uncut) reportProblems(checkTables(made), io, json, session.source);
  }
  return failed;
}

/** Errors of a table at its place in the program. */
function attempt(check: () => void, span: DatasetSpec["span"]): void {
  try {
    check();
  } catch (error) {
    throw error instanceof InputError ? error.at(span) : error;
  }
}

/** The tables, or none where they cannot be made, for a reason that was told. */
async function whole(read: () => Promise<StageTable[]>): Promise<StageTable[]> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof InputError) return [];
    throw error;
  }
}
/** The code of rows in which nothing is left to learn. */
const NOTHING_LEFT = "P0711";

/** The code of tables that only a run makes. */
const LATER = "P0738";

function later(stage: Stage, { io, json }: Session): void {
  if (json) io.out(line({ event: "note", message: `the data of stage ${stage.name} are made by an earlier stage, when it runs` }));
  else io.out(`${stage.name}: its data are made by an earlier stage, when it runs\n`);
}

/** The documented shape of `data --json`, one object a table. */
function factsJson(inspected: StageTable, f: Facts): string {
  const { stage, part, table, spec } = inspected;
  return line({
    event: "data",
    stage,
    part,
    table: table.name,
    make: spec.make,
    rows: f.rows,
    columns: [...table.columns.keys()],
    tokens: f.tokens ?? null,
    labelled: f.labelled ?? null,
    sequence: f.sequence ?? null,
    padding: f.padding ?? null,
    cut: f.cut,
    unread: unreadIn(inspected),
    classes: f.classes === undefined ? null : Object.fromEntries(f.classes),
    class_names: table.classes === undefined ? null : Object.fromEntries(table.classes),
  });
}

const percent = (share: number): string => `${(100 * share).toPrecision(3)} %`;

function factsText(inspected: StageTable, f: Facts): string {
  const { stage, part } = inspected;
  const { name, columns, classes } = inspected.table;
  const unread = unreadIn(inspected);
  const rows: (string | number)[][] = [["rows", grouped(f.rows)]];
  if (f.tokens !== undefined) {
    const { least, median, mean, most } = f.tokens;
    rows.push(["tokens a row", `${least} to ${most}, median ${median}, mean ${Number(mean.toPrecision(4))}`]);
    rows.push(["padded to", `${f.sequence} (${percent(f.padding!)} padding)`]);
    rows.push(["learnt", f.labelled === undefined ? "no token by itself" : `${percent(f.labelled)} of the tokens`]);
    rows.push(["cut", f.cut.rows === 0 ? "no row" : `${f.cut.rows} rows, ${f.cut.answers} of them in what is learnt`]);
  }
  if (f.classes !== undefined) {
    const named = new Map([...(classes ?? [])].map(([name, id]) => [id, name]));
    const shown = [...f.classes]
      .slice(0, CLASSES)
      .map(([label, count]) => `${named.get(label) === undefined ? "" : `${named.get(label)} = `}${label}: ${grouped(count)}`);
    rows.push(["labels", `${shown.join(", ")}${f.classes.size > CLASSES ? ", …" : ""}`]);
  }
  rows.push(["columns", [...columns.keys()].join(", ")]);
  if (unread.length > 0) rows.push(["not used", unread.join(", ")]);
  return `${stage}${part === "held" ? " (held-out part)" : ""}: ${name}\n${table(rows)}`;
}
const CLASSES = 10;

/** A view's tokens one by one. */
function pieces(view: View, words: Words | undefined): { id: number; text: string; label: number | undefined }[] {
  return view.ids.map((id, i) => ({ id, text: words === undefined ? ` ${id}` : textOf(view.ids, i, words), label: view.labels[i] }));
}

const isToken = (id: number): boolean => Number.isInteger(id) && id >= 0;

/** What a token adds to the text: some stand for a space only behind another. */
function textOf(ids: readonly number[], i: number, words: Words): string {
  if (words.specials.has(ids[i])) return words.tokenOf(ids[i]) ?? `#${ids[i]}`;
  // what is no number of a token has no text: it is told elsewhere
  if (!isToken(ids[i])) return ` ${ids[i]} `;
  const alone = words.decode([ids[i]]);
  if (i === 0 || words.specials.has(ids[i - 1]) || !isToken(ids[i - 1])) return alone;
  const before = words.decode([ids[i - 1]]);
  const both = words.decode([ids[i - 1], ids[i]]);
  return both.startsWith(before) ? both.slice(before.length) : alone;
}

const cutOf = (inspected: StageTable, row: number, shown: readonly View[]): number =>
  Math.max(0, (inspected.table.facts?.[row]?.tokens ?? 0) - (shown[0]?.ids.length ?? 0));

/** Numbers that a row has besides its tokens: its label, its score. */
function numbersOf({ table: { columns } }: StageTable, row: number): [string, number][] {
  return [...columns].flatMap(([name, column]) => (column.rank === 0 ? [[name, Number(column.row(row)[0])] as [string, number]] : []));
}

function rowJson(inspected: StageTable, row: number): string {
  const { stage, part, table, tokenizer } = inspected;
  const views = viewsOf(inspected, row);
  return line({
    event: "row",
    stage,
    part,
    table: table.name,
    row,
    line: table.facts?.[row]?.line ?? null,
    texts: Object.fromEntries(
      views.map((view) => [view.column, pieces(view, tokenizer).map(({ id, text, label }) => ({ id, text, label: label ?? null }))]),
    ),
    cut: cutOf(inspected, row, views),
    values: Object.fromEntries(numbersOf(inspected, row)),
  });
}

function rowText(inspected: StageTable, row: number, color: boolean): string {
  const { table, tokenizer } = inspected;
  const views = viewsOf(inspected, row);
  const place = table.facts?.[row]?.line;
  const numbers = numbersOf(inspected, row).map(([name, value]) => `${name} = ${value}`);
  const head = [place === undefined ? `row ${row + 1}` : `row ${row + 1}, line ${place}`, ...numbers].join("  ");
  const bodies = views.map((view) => {
    const name = views.length > 1 ? `  ${view.column}: ` : "  ";
    return `${name}${painted(view, tokenizer, color, inspected.table.columns.has("tags")).replaceAll("\n", "⏎\n  ")}`;
  });
  const shapes = [...table.columns]
    .filter(([, column]) => column.rank > 1)
    .map(([name, column]) => `  ${name}: [${column.shape(row).join(", ")}]`);
  const lost = cutOf(inspected, row, views);
  const cut = lost === 0 ? [] : [`  … ${lost} more tokens are cut off`];
  return `  ${head}\n${[...bodies, ...(views.length === 0 ? shapes : []), ...cut].join("\n")}\n`;
}

/** Learnt tokens stand out: green, or between « and »; the others are grey. `classes`: labels are classes, and stand behind their tokens. */
function painted(view: View, words: Words | undefined, color: boolean, classes: boolean): string {
  const paint = pc.createColors(color);
  let out = "";
  let learnt = false;
  for (const { text, label } of pieces(view, words)) {
    const marked = label !== undefined;
    if (!color && marked !== learnt) out += marked ? "«" : "»";
    learnt = marked;
    const shown = classes && marked ? `${text}/${label}` : text;
    out += marked ? paint.green(shown) : paint.gray(shown);
  }
  return !color && learnt ? `${out}»` : out;
}
