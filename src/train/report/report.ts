/** A `report` stage: results of the stages before it as a table, printed, and kept as Markdown, JSON and, where it is asked for, a curve. */
import type { ReportCell, ReportStage } from "../../compiler/project.ts";
import { type Files, type Json, joinPath, writeFile, writeJson } from "../../formats/files.ts";
import { showBytes } from "../engine/budget.ts";
import type { Listen, Scalars } from "../events.ts";
import { curve } from "./curve.ts";

/** A number, or the mean of several with their standard deviation (of n − 1). */
interface Measured {
  readonly mean: number;
  readonly sd: number;
  readonly n: number;
}
export type ReportValue = string | number | boolean | null | Measured;
export interface ReportTable {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly Readonly<Record<string, ReportValue>>[];
}

interface ReportHost {
  readonly files: Files;
  readonly values: { param(name: string): Float32Array };
  readonly listen: Listen;
}

/** Writes `report.md`, `report.json` and `report.svg`. `metrics`: of the stages so far, by their folder. */
export function report(stage: ReportStage, host: ReportHost, metrics: ReadonlyMap<string, Scalars>, folder: string): ReportTable {
  const value = (cell: ReportCell | undefined): ReportValue =>
    cell === undefined ? null : typeof cell === "object" && cell !== null ? host.values.param(cell.late)[0] : cell;
  const made = stage.rows.map((row) => ({
    fixed: Object.entries(row).flatMap(([name, cell]) => (typeof cell === "object" && cell !== null ? [] : [[name, cell] as const])),
    values: Object.fromEntries(stage.columns.map((name) => [name, value(row[name])])),
  }));
  const grouped = stage.over.length === 0 ? made.map(({ values }) => values) : together(made, stage.over);
  const systems = stage.of.flatMap((of) => systemsOf(metrics.get(of) ?? {}));
  const rows = [...grouped, ...systems];
  const columns = [...new Set([...stage.columns.filter((name) => name !== stage.over[0]), ...systems.flatMap((row) => Object.keys(row))])];
  const table: ReportTable = { title: stage.title, columns, rows };
  const put = (name: string, text: string) => writeFile(host.files, joinPath(folder, name), new TextEncoder().encode(text));
  put("report.md", markdown(table));
  writeJson(host.files, joinPath(folder, "report.json"), table as unknown as Json, true);
  if (stage.curve !== undefined) put("report.svg", curve(table, stage.curve));
  host.listen({ event: "report", stage: stage.name, folder, ...table });
  return table;
}

/** Rows that agree in everything that was known before the run, columns of `over` apart, as one: means of what differs; the first column of `over` is gone. */
function together(
  rows: readonly { readonly fixed: readonly (readonly [string, ReportValue])[]; readonly values: Readonly<Record<string, ReportValue>> }[],
  over: readonly string[],
): Record<string, ReportValue>[] {
  const groups = new Map<string, Record<string, ReportValue>[]>();
  const known = new Map<string, ReadonlySet<string>>();
  for (const { fixed, values } of rows) {
    const key = JSON.stringify(fixed.filter(([name]) => !over.includes(name)));
    groups.set(key, [...(groups.get(key) ?? []), values]);
    known.set(key, new Set(fixed.flatMap(([name]) => (over.includes(name) ? [] : [name]))));
  }
  return [...groups].map(([key, same]) => {
    const [first] = same;
    return Object.fromEntries(
      Object.keys(first).flatMap((name): [string, ReportValue][] => {
        if (name === over[0]) return [];
        const numbers = same.map((row) => row[name]);
        if (known.get(key)!.has(name) || !numbers.every((x) => typeof x === "number")) return [[name, first[name]]];
        return [[name, measured(numbers as number[])]];
      }),
    );
  });
}
function measured(numbers: readonly number[]): Measured {
  const n = numbers.length;
  const mean = numbers.reduce((a, b) => a + b, 0) / n;
  const sd = n < 2 ? 0 : Math.sqrt(numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1));
  return { mean, sd, n };
}

/** Numbers named `system/metric` as a row a system; those without a system make one row. */
function systemsOf(metrics: Scalars): Record<string, ReportValue>[] {
  const rows = new Map<string, Record<string, ReportValue>>();
  for (const [name, value] of Object.entries(metrics)) {
    const [system, ...rest] = name.split("/");
    const key = rest.length === 0 ? "" : system;
    const row = rows.get(key) ?? (key === "" ? {} : { system: key });
    row[rest.length === 0 ? name : rest.join("/")] = value;
    rows.set(key, row);
  }
  return [...rows.values()];
}

/** As people read it: bytes and seconds by the column's name, whole numbers in groups of three, others to four digits. */
export function shown(column: string, value: ReportValue | undefined): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "object")
    return value.n < 2 ? shown(column, value.mean) : `${shown(column, value.mean)} ± ${shown(column, value.sd)}`;
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return "–";
  if (/(^|[_ ])(bytes|memory)$/.test(column)) return showBytes(value);
  if (/(^|[_ ])seconds$/.test(column)) return value.toFixed(1);
  if (Number.isInteger(value)) return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, " ");
  return Math.abs(value) < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(Math.abs(value) < 1 ? 3 : 4)));
}

export function markdown({ title, columns, rows }: ReportTable): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  const right = (name: string) => rows.every((row) => typeof row[name] !== "string");
  return [
    `# ${title}\n\n`,
    line(columns.map((name) => name.replaceAll("_", " "))),
    line(columns.map((name) => (right(name) ? "---:" : "---"))),
    ...rows.map((row) => line(columns.map((name) => shown(name, row[name])))),
  ].join("");
}
