/** Means of an objective's scalars over whole tables, and metrics of their rows. */
import type { Entry, MetricSpec } from "../../compiler/project.ts";
import type { Session } from "../../ground/program.ts";
import { NotAdditive } from "../../ir/accumulate.ts";
import { InputError } from "../../ir/errors.ts";
import type { Result } from "../../ir/graph.ts";
import { bindSizes, checkTable, type DataTable, fillBatch } from "../data/columns.ts";
import { withTargets } from "../data/targets.ts";
import type { EntryPoint } from "../engine/engine.ts";
import { batchesOf, entryName, entryPoints } from "../engine/entries.ts";
import type { Scalars } from "../events.ts";
import type { RunHost } from "../host.ts";
import { metricNamed, readTables } from "../metrics/index.ts";
import { type Labelled, type Metric, unfit } from "../metrics/metric.ts";
import { DERIVED, Means } from "../metrics/scalars.ts";
import { Summing } from "./summing.ts";

const NAMES = { count: "evaluate_count", part: "evaluate_part", finish: "evaluate" };
/** Of scalars that do not add up over batches (a largest error): each batch's counts by its rows. And of what metrics of rows look at. */
const REST = "evaluate_rest";

interface Part {
  readonly table: DataTable;
  readonly sizes: ReadonlyMap<string, number>;
  readonly batches: readonly (readonly number[])[];
  readonly summing: Summing | undefined;
  readonly rest: Entry | undefined;
}

interface EvaluationOptions {
  readonly metrics: readonly MetricSpec[];
  /** The metric that decides which evaluation is the best. */
  readonly best?: string | undefined;
  readonly batch: number;
  readonly sequence: number | undefined;
}

/** A metric of rows that is asked for. */
interface Asked {
  readonly metric: Metric;
  readonly spec: MetricSpec;
}

/** No label: special tokens, later pieces of words. */
const IGNORED = -100;

/** One evaluation, ready to be run again and again: entries to compile, and the calls that use them. */
export class Evaluation {
  readonly points: readonly EntryPoint[];
  private readonly parts: readonly Part[];
  private readonly asked: readonly Asked[];

  /** An entry and a table each. P07.. where a table cannot serve; P0822 where a metric is neither known nor a scalar of the objective's, P0703 where it does not fit. */
  constructor(
    entries: readonly Entry[],
    tables: readonly DataTable[],
    private readonly options: EvaluationOptions,
    private readonly host: Pick<RunHost, "table">,
  ) {
    const { batch, sequence, metrics, best } = options;
    this.asked = askedOf(entries, best === undefined ? metrics : [...metrics, { name: best, options: {} }]);
    const rows = this.asked.some(({ metric }) => metric.wants === "labels");
    this.parts = entries.map((entry, number) => {
      checkTable(entry.columns, entry.graph, tables[number], sequence);
      const table = withTargets(entry.columns, tables[number], sequence);
      const sizes = bindSizes(entry.columns, table, sequence);
      const batches = batchesOf(table.rows, batch);
      const lengths = lengthsOf(batches);
      const { sums, rest } = additive(entry, rows ? labelled(entry) : []);
      const summing = sums === undefined ? undefined : new Summing({ names: NAMES, entry: sums, number, table, sizes, batches: lengths });
      return { table, sizes, batches, summing, rest };
    });
    this.points = this.parts.flatMap(({ summing, rest, sizes, batches }, number) => [
      ...(summing?.points ?? []),
      ...(rest === undefined ? [] : entryPoints(REST, [rest], [sizes], [lengthsOf(batches)], number)),
    ]);
  }

  /**
   * Metrics over all rows: `loss` first, those asked for, whatever else the objective names. Of several tables a metric of rows is named by its
   * table as well; by itself it is the mean by their rows. `step`, `steps`: of the last step.
   */
  async run(session: Session, step: number, steps: number): Promise<Scalars> {
    const means = new Means();
    const named: Record<string, number> = {};
    for (const [number, { table, sizes, batches, summing, rest }] of this.parts.entries()) {
      if (summing !== undefined) means.add(scalarsOf(await summing.run(session, batches, { step, steps })), table.rows);
      if (rest === undefined) continue;
      const seen: { predicted: number[]; expected: number[] } = { predicted: [], expected: [] };
      for (const rows of batches) {
        const name = entryName(REST, number, rows.length, batches[0].length);
        const { predicted, expected, ...outputs } = await session.run(name, {
          ...fillBatch(rest.columns, table, rows, sizes),
          step,
          steps,
        });
        means.add(scalarsOf(outputs), rows.length);
        expected?.forEach((label, i) => {
          if (label === IGNORED) return;
          seen.expected.push(label);
          seen.predicted.push(predicted[i]);
        });
      }
      for (const [key, value, counts] of this.ofRows(seen)) {
        if (this.parts.length > 1) named[`${table.name}/${key}`] = value;
        if (this.parts.length === 1 && counts) named[key] = value;
        if (!counts) means.add({ [key]: value }, table.rows);
      }
    }
    const found = { ...means.result(), ...named, ...(await this.ofTables()) };
    const { best } = this.options;
    const out: Record<string, number> = { loss: found.loss };
    for (const name of [...this.options.metrics.map((m) => m.name), ...(best === undefined ? [] : [best])]) {
      const value = found[name] ?? DERIVED[name]?.(found);
      if (value !== undefined) out[name] = value;
    }
    if (best !== undefined && out[best] === undefined)
      throw new InputError("P0822", `\`best\` is no number of the evaluation: there is no \`${best}\``, [
        `there is: ${Object.keys(found).join(", ")}`,
      ]);
    return { ...out, ...Object.fromEntries(Object.entries(found).filter(([name]) => !(name in out))) };
  }

  private ofRows(rows: Labelled): [string, number, boolean][] {
    return this.asked.flatMap(({ metric, spec }) =>
      metric.wants !== "labels"
        ? []
        : Object.entries(metric.of(rows, spec.options)).map(([key, value]): [string, number, boolean] => [
            key,
            value,
            metric.counts ?? false,
          ]),
    );
  }
  private async ofTables(): Promise<Scalars> {
    const out: Record<string, number> = {};
    for (const { metric, spec } of this.asked)
      if (metric.wants === "tables") Object.assign(out, await metric.of(readTables(this.host), spec.options));
    return out;
  }
}

const scalarResults = (entry: Entry): Result[] => entry.graph.results.filter((r) => r.role === "output" && r.node.type.shape.length === 0);

/** The metrics that are neither scalars of the objective's nor follow from them. P0822, P0703. */
function askedOf(entries: readonly Entry[], metrics: readonly MetricSpec[]): Asked[] {
  const scalars = entries.flatMap((entry) => scalarResults(entry).map((r) => r.name));
  const asked = new Map<string, Asked>();
  for (const spec of metrics) {
    const { name, options } = spec;
    if (Object.keys(options).length === 0 && (scalars.includes(name) || Object.hasOwn(DERIVED, name) || asked.has(name))) continue;
    const metric = metricNamed(name, scalars);
    if (metric.wants === "texts")
      throw unfit(`\`${name}\` compares texts, and an objective gives none`, [
        "it is asked of what `generate` wrote, in an `evaluate` without `objective`",
      ]);
    asked.set(name, { metric, spec });
  }
  return [...asked.values()];
}

/** P0703 where the objective does not say what it predicts. */
function labelled(entry: Entry): Result[] {
  const found = entry.graph.results.filter((r) => r.role === "output" && (r.name === "predicted" || r.name === "expected"));
  if (found.length === 2) return found;
  throw unfit("the objective does not say what it predicts of a row", [
    "a metric of rows compares what an objective names `predicted` with what it names `expected`, of one shape",
    "or the likeliest of what it names `logits` with the column `label`",
  ]);
}

const lengthsOf = (batches: readonly (readonly number[])[]): number[] => [...new Set(batches.map((rows) => rows.length))];

/** The scalars that add up over batches, and the others with what else is wanted. */
function additive(entry: Entry, wanted: readonly Result[]): { sums: Entry | undefined; rest: Entry | undefined } {
  const scalars = scalarResults(entry);
  const adds = (results: readonly Result[]): boolean => {
    try {
      new Summing({
        names: NAMES,
        entry: { ...entry, graph: { results } },
        number: 0,
        table: { name: "", rows: 1, columns: new Map() },
        sizes: new Map(),
        batches: [1],
      });
      return true;
    } catch (error) {
      if (error instanceof NotAdditive) return false;
      throw error;
    }
  };
  const sums = adds(scalars) ? scalars : scalars.filter((r) => adds([r]));
  const rest = scalars.filter((r) => !sums.includes(r));
  const part = (results: readonly Result[]): Entry | undefined => (results.length === 0 ? undefined : { ...entry, graph: { results } });
  return { sums: part(sums), rest: part([...rest, ...wanted]) };
}

/** Outputs that are single numbers. */
export function scalarsOf(outputs: Readonly<Record<string, ArrayLike<number>>>): Record<string, number> {
  return Object.fromEntries(Object.entries(outputs).flatMap(([name, value]) => (value.length === 1 ? [[name, value[0]]] : [])));
}
