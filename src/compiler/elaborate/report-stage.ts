/** `report { rows = … }`: results of stages as a table, and as a curve. */
import type { Span } from "../../ir/graph.ts";
import type { ReportCell, ReportStage } from "../project.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { asItIs } from "./numbers.ts";
import type { Settings } from "./settings.ts";
import { Storage } from "./storage.ts";
import { describe, Fields, type Value } from "./values.ts";

export function reportStage(e: Elaborator, s: Settings<"report">, base: { name: string; span: Span; folder: string }): ReportStage {
  const at = s.spanOf("rows");
  const given = s.value("rows") ?? [];
  const rows = (Array.isArray(given) ? (given as readonly Value[]) : [given]).map((row) => {
    if (!(row instanceof Fields)) fail("P0206", at, `\`rows\` are records, one a row, this is ${describe(row)}`);
    return Object.fromEntries([...row.entries].map(([name, value]) => [name, cell(e, value, name, at)]));
  });
  const tables = s.value("of") ?? [];
  const of = (Array.isArray(tables) ? (tables as readonly Value[]) : [tables]).map((result) => {
    const folder = result instanceof Fields ? result.entries.get("folder") : undefined;
    if (typeof folder !== "string")
      fail("P0206", s.spanOf("of"), `\`of\` names stages that measured something, this is ${describe(result)}`);
    return folder;
  });
  if (rows.length + of.length === 0) fail("P0204", s.span, "`report` needs `rows`, or `of`");
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const column = (name: string | undefined, field: string): string | undefined => {
    if (name !== undefined && !columns.includes(name))
      fail("P0203", s.spanOf(field), `no row has a \`${name}\``, {
        notes: [...e.suggestions(name, columns), `they have: ${columns.join(", ")}`],
      });
    return name;
  };
  const curve = s.record("curve");
  const axis = (name: string): string | undefined => column(curve[name] as string | undefined, "curve");
  const [x, y] = [axis("x"), axis("y")];
  if (s.has("curve") && (x === undefined || y === undefined))
    fail("P0204", s.spanOf("curve"), "`curve` needs `x` and `y`, names of columns");
  return {
    ...base,
    verb: "report",
    tokenizer: undefined,
    separate: false,
    title: s.string("title") ?? base.name,
    columns,
    rows,
    of,
    over: (s.strings("over") ?? []).flatMap((name) => column(name, "over") ?? []),
    curve: x === undefined || y === undefined ? undefined : { x, y, by: axis("by") },
  };
}

function cell(e: Elaborator, value: Value, name: string, span: Span): ReportCell {
  if (value instanceof Storage && value.shape.length === 0)
    return { late: (value.source?.kind === "number" ? value : asItIs(e, value, span)).name };
  if (value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  return fail("P0206", span, `\`${name}\` of a row must be a number or a text, or a number that a stage makes, this is ${describe(value)}`);
}
