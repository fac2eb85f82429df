/** `evaluate` and `predict` stages: a model over a table, without a step. */
import type { EvaluateStage, PredictStage, TrainStage } from "../../compiler/project.ts";
import { joinPath, writeFile, writeJson } from "../../formats/files.ts";
import type { Session } from "../../ground/program.ts";
import { substitute } from "../../ir/dim.ts";
import { InputError } from "../../ir/errors.ts";
import { bindSizes, checkTable, type DataTable, fillBatch } from "../data/columns.ts";
import { budgetOf, memoryOf, requireBudget, sourceOf } from "../engine/budget.ts";
import type { Built, EntryPoint } from "../engine/engine.ts";
import { batchesOf, entriesOf, entryName, entryPoints } from "../engine/entries.ts";
import { loadParams } from "../engine/loading.ts";
import type { Scalars } from "../events.ts";
import type { RunHost } from "../host.ts";
import { zeros } from "../values.ts";
import { Evaluation } from "./evaluate.ts";
import { blameHeld } from "./nonfinite.ts";
import { stopIfAsked, stoppable } from "./stopping.ts";
import { prepareEvaluation } from "./train.ts";

async function tableOf(stage: EvaluateStage | PredictStage, host: RunHost): Promise<DataTable> {
  const table = await host.table({
    spec: stage.data,
    tokenizer: stage.tokenizer,
    separate: stage.separate,
    sequence: stage.sequence,
    entries: entriesOf(stage),
  });
  if (table === undefined) throw new InputError("P0731", `\`${stage.data.make}\` has no held-out part`, ["give it `split:`"]);
  return table;
}

interface Opened<T> {
  readonly made: T;
  readonly session: Session;
  /** Names of the parameters. */
  readonly params: string[];
}

/**
 * Compiles entries that change nothing, opens them, and gives them the values there are. `make`: entries for so many rows at a time; fewer than the stage's are taken
 * where its budget asks for it, since rows know nothing of each other. P0901 where one row is too much.
 */
async function openFor<T extends { readonly points: readonly EntryPoint[] }>(
  stage: { readonly name: string; readonly memory?: number | undefined; readonly batch: number },
  host: RunHost,
  make: (rows: number) => T | Promise<T>,
): Promise<Opened<T>> {
  const bytes = budgetOf(stage, host.engine);
  for (let rows = stage.batch; ; rows >>= 1) {
    const made = await make(rows);
    const built = await host.engine.build(made.points, { trained: [], memory: bytes });
    const fits = built.smallest === undefined && memoryOf(built.program).total <= bytes;
    if (!fits && rows > 1) continue;
    if (!fits) await requireBudget(built, { bytes, source: sourceOf(stage.memory, bytes) });
    if (rows < stage.batch)
      host.listen({ event: "note", message: `${stage.name}: ${rows} of ${stage.batch} rows at a time, since no more fit the budget` });
    await stopIfAsked(host);
    const session = stoppable(await host.engine.open(built), host);
    try {
      await fillFor(stage.name, built, made.points, session, host);
    } catch (error) {
      await session.close();
      throw error;
    }
    return { made, session, params: Object.keys(built.program.params) };
  }
}

async function fillFor(stage: string, built: Built, points: readonly EntryPoint[], session: Session, host: RunHost): Promise<void> {
  await loadParams(session, built.program, { values: host.values, stage, listen: host.listen });
  for (const [name, index] of Object.entries(built.program.states)) {
    // sums over batches are no states of the program's
    const declared = host.project.states.has(name);
    const held = declared ? host.values.state(name, points[0].sizes) : zeros(built.program.tensors[index]);
    await session.write("state", name, held.values);
  }
}

/** P0910: the loss is no number. */
function requireFinite(stage: EvaluateStage | TrainStage, { loss }: Scalars, params: readonly string[], host: RunHost): void {
  if (loss !== undefined && !Number.isFinite(loss)) throw blameHeld({ stage, what: "the loss", value: loss, params }, host);
}

/** Writes `metrics.json`. P0910 where the loss is no number. */
export async function evaluateStage(stage: EvaluateStage, host: RunHost, folder: string | undefined): Promise<Scalars> {
  const table = await tableOf(stage, host);
  const {
    made: evaluation,
    session,
    params,
  } = await openFor(stage, host, (batch) => new Evaluation([stage.evaluation], [table], { ...stage, batch }, host));
  try {
    const metrics = await evaluation.run(session, host.values.clock.step, host.values.clock.steps);
    requireFinite(stage, metrics, params, host);
    host.listen({ event: "evaluation", stage: stage.name, step: 0, metrics, best: false });
    if (folder !== undefined) writeJson(host.files, joinPath(folder, "metrics.json"), metrics, true);
    return metrics;
  } finally {
    await session.close();
  }
}

/** Metrics of every `evaluate` stage, and of the held data of every `train` stage, with the values there are. */
export async function evaluateAll(host: RunHost): Promise<{ stage: string; metrics: Scalars }[]> {
  const out: { stage: string; metrics: Scalars }[] = [];
  for (const action of host.project.actions) {
    if (action.kind !== "stage") continue;
    const { stage } = action;
    if (stage.verb === "evaluate") out.push({ stage: stage.name, metrics: await evaluateStage(stage, host, undefined) });
    if (stage.verb === "train") {
      const metrics = await evaluateTrained(stage, host);
      if (metrics !== undefined) out.push({ stage: stage.name, metrics });
    }
  }
  return out;
}

async function evaluateTrained(stage: TrainStage, host: RunHost): Promise<Scalars | undefined> {
  if ((await prepareEvaluation(stage, host)) === undefined) return undefined;
  const {
    made: evaluation,
    session,
    params,
  } = await openFor(stage, host, async (batch) => (await prepareEvaluation({ ...stage, batch }, host))!);
  try {
    const metrics = await evaluation.run(session, host.values.clock.step, host.values.clock.steps);
    requireFinite(stage, metrics, params, host);
    host.listen({ event: "evaluation", stage: stage.name, step: 0, metrics, best: false });
    return metrics;
  } finally {
    await session.close();
  }
}

/** Numbers side by side as lists in lists of these sizes. */
function nested(values: readonly number[], [size, ...rest]: readonly number[]): unknown {
  if (rest.length === 0) return values;
  const each = values.length / size;
  return Array.from({ length: size }, (_, i) => nested(values.slice(i * each, (i + 1) * each), rest));
}

/** One object a row, with the columns asked for; also written to `predictions.jsonl`. P0910 where one is no number. */
export async function predictStage(stage: PredictStage, host: RunHost, folder: string): Promise<Record<string, unknown>[]> {
  const table = await tableOf(stage, host);
  checkTable(stage.entry.columns, stage.entry.graph, table, stage.sequence);
  const sizes = bindSizes(stage.entry.columns, table, stage.sequence);
  const {
    made: { batches },
    session,
    params,
  } = await openFor(stage, host, (batch) => {
    const batches = batchesOf(table.rows, batch);
    return { batches, points: entryPoints("predict", [stage.entry], [sizes], [[...new Set(batches.map((rows) => rows.length))]]) };
  });
  const inner = new Map(
    stage.entry.graph.results.map(({ name, node }) => [name, node.type.shape.slice(1).map((d) => Number(substitute(d, sizes)))]),
  );
  const out: Record<string, unknown>[] = [];
  try {
    for (const rows of batches) {
      const name = entryName("predict", 0, rows.length, batches[0].length);
      const outputs = await session.run(
        name,
        { ...fillBatch(stage.entry.columns, table, rows, sizes), ...host.values.clock },
        stage.columns,
      );
      for (const column of stage.columns) {
        const value = outputs[column].find((x) => !Number.isFinite(x));
        if (value !== undefined) throw blameHeld({ stage, what: `\`${column}\``, value, params }, host);
      }
      for (const [i, row] of rows.entries()) {
        const values = stage.columns.map((column) => {
          const width = outputs[column].length / rows.length;
          const part = [...outputs[column].subarray(i * width, (i + 1) * width)];
          return [column, width === 1 ? part[0] : nested(part, inner.get(column)!)] as const;
        });
        out.push({ row, ...Object.fromEntries(values) });
      }
    }
  } finally {
    await session.close();
  }
  const lines = out.map((row) => `${JSON.stringify(row)}\n`).join("");
  writeFile(host.files, joinPath(folder, "predictions.jsonl"), new TextEncoder().encode(lines));
  host.predicted(stage, folder);
  host.listen({ event: "saved", stage: stage.name, kind: "table", folder });
  return out;
}
