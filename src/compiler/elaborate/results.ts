/** What the name of a stage that trained or measured stands for: counts that are known now, and numbers that its run makes. */

import { METRICS, type MetricForm } from "../../ground/metrics.ts";
import type { Span } from "../../ir/graph.ts";
import { order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { own } from "../../ir/own.ts";
import type { Entry, MetricSpec, TrainStage } from "../project.ts";
import type { Elaborator } from "./elaborator.ts";
import { lateNumber } from "./numbers.ts";
import { Fields, type Value } from "./values.ts";

/** Entries that are made when they are asked for: what nobody reads, the run need not make. */
class Asked extends Map<string, Value> {
  constructor(
    known: ReadonlyMap<string, Value>,
    private readonly names: readonly string[],
    private readonly make: (name: string) => Value,
  ) {
    super(known);
  }
  override has(name: string): boolean {
    return super.has(name) || (this.names?.includes(name) ?? false);
  }
  override get(name: string): Value | undefined {
    if (!super.has(name) && this.names?.includes(name)) this.set(name, this.make(name));
    return super.get(name);
  }
  override keys(): MapIterator<string> {
    for (const name of this.names) this.get(name);
    return super.keys();
  }
  override entries(): MapIterator<[string, Value]> {
    for (const name of this.names) this.get(name);
    return super.entries();
  }
  override [Symbol.iterator](): MapIterator<[string, Value]> {
    return this.entries();
  }
}

/** Of a run with `reverse` in f32: what the first step measured of the values it rebuilt. */
const REBUILT = ["rebuild_error", "rebuild_growth", "rebuild_bound"];

const scalars = (entry: Entry): string[] =>
  entry.graph.results.flatMap(({ role, name, node }) => (role === "output" && node.type.shape.length === 0 ? [name] : []));
const metricNames = (metrics: readonly MetricSpec[]): string[] =>
  metrics.flatMap(({ name, options }) => own<MetricForm>(METRICS, name)?.numbers?.(options) ?? [name]);

/** Numbers of one evaluation, before (`before`) or after training, or of an `evaluate`. */
function numbers(
  e: Elaborator,
  stage: string,
  names: readonly string[],
  prefix: string,
  span: Span,
  known: Readonly<Record<string, Value>> = {},
): Fields {
  const make = (name: string) => lateNumber(e, { kind: "metric", stage, name: `${prefix}${name}` }, span);
  return new Fields(new Asked(new Map(Object.entries(known)), [...new Set(names)], make));
}

/**
 * Of `train`: `folder`; `trained` and `parameters`, counted now; `loss` of the last update, `updates`, `seconds` and `peak_bytes` of the run, what was planned of
 * that and of activations (`planned_bytes`, `activation_bytes`); `before` and `after`, the numbers of the first evaluation and of the last one (the best, where the best is kept); `watch`.
 */
export function trainResult(e: Elaborator, stage: TrainStage): Fields {
  const { folder, span } = stage;
  const shapes = new Map<string, number>();
  for (const { graph } of stage.step)
    for (const n of order(graph.results.map((r) => r.node)))
      if (rowOf(n).supply === "param")
        shapes.set(
          String(n.attrs.name),
          n.type.shape.reduce<number>((a, d) => a * Number(d), 1),
        );
  const size = (names: Iterable<string>) => [...names].reduce((sum, name) => sum + (shapes.get(name) ?? 0), 0);
  const seen = [...stage.evaluation.flatMap(scalars), ...metricNames(stage.evaluate?.metrics ?? []), "perplexity"];
  const last = scalars(stage.step[0]).filter((name) => !name.includes("/"));
  const watched = scalars(stage.step[0]).flatMap((name) => (name.startsWith("watch/") ? [name.slice("watch/".length)] : []));
  return numbers(e, folder, ["loss", "updates", "seconds", "peak_bytes", "planned_bytes", "activation_bytes", ...REBUILT], "", span, {
    folder,
    trained: size(stage.trained),
    parameters: size(shapes.keys()),
    before: numbers(e, folder, seen, "before/", span),
    after: numbers(e, folder, seen, "after/", span),
    last: numbers(e, folder, last, "last/", span),
    watch: numbers(e, folder, watched, "watch/", span),
  });
}

/** Of `evaluate`: the metrics that are single numbers, and every scalar that the objective names. */
export function evaluateResult(
  e: Elaborator,
  folder: string,
  entry: Entry | undefined,
  metrics: readonly MetricSpec[],
  span: Span,
): Fields {
  return numbers(e, folder, [...metricNames(metrics), ...(entry === undefined ? [] : scalars(entry))], "", span, { folder });
}
