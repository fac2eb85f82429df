/** Numbers that a run makes between stages: metrics of an evaluation, and what is computed of tables. */
import type { Action, DatasetSpec, NumberSource } from "../../compiler/project.ts";
import { InputError } from "../../ir/errors.ts";
import type { Span } from "../../ir/graph.ts";
import type { DataTable } from "../data/columns.ts";
import type { Scalars } from "../events.ts";
import type { RunHost } from "../host.ts";

type NumberAction = Action & { readonly kind: "number" };

/** Gives the action's parameter its value. `metrics`: of the evaluations so far, by their stage's folder. */
export async function settle(
  { source, into, span }: NumberAction,
  host: Pick<RunHost, "table" | "values">,
  metrics: ReadonlyMap<string, Scalars>,
): Promise<void> {
  if (source.kind === "computed") host.values.compute(into, source.graph);
  else host.values.setParam(into, Float32Array.of(await numberOf(source, span, host, metrics)));
}

async function numberOf(
  source: Exclude<NumberSource, { kind: "computed" }>,
  span: Span,
  host: Pick<RunHost, "table">,
  metrics: ReadonlyMap<string, Scalars>,
): Promise<number> {
  if (source.kind === "metric") {
    const value = metrics.get(source.stage)?.[source.name];
    if (value === undefined) throw new InputError("P0822", `there is no number \`${source.name}\` in that evaluation`, [], span);
    return value;
  }
  const means: Float64Array[] = [];
  for (const spec of source.tables) means.push(await meanOf(spec, host));
  const [a, b] = means;
  if (a.length !== b.length)
    throw new InputError(
      "P0703",
      `rows of ${a.length} and of ${b.length} numbers cannot be compared`,
      ["predict both columns with the same model"],
      span,
    );
  const dot = (x: Float64Array, y: Float64Array) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const size = Math.sqrt(dot(a, a) * dot(b, b));
  return size === 0 ? 0 : dot(a, b) / size;
}

/** The mean of a table's one column, over its rows and over all axes but the last. */
async function meanOf(spec: DatasetSpec, host: Pick<RunHost, "table">): Promise<Float64Array> {
  const table: DataTable | undefined = await host.table({ spec, tokenizer: undefined, sequence: undefined });
  const [named, ...others] = table === undefined ? [] : [...table.columns];
  if (table === undefined || named === undefined || others.length > 0)
    throw new InputError("P0703", "`similarity` compares two columns", ['such as `similarity(a["logits"], b["logits"])`'], spec.span);
  const [, column] = named;
  const width = column.rank === 0 ? 1 : column.shape(0).at(-1)!;
  const mean = new Float64Array(width);
  let count = 0;
  for (let row = 0; row < table.rows; row++) {
    const values = column.row(row);
    for (let i = 0; i < values.length; i++) mean[i % width] += values[i];
    count += values.length / width;
  }
  return mean.map((sum) => sum / count);
}
