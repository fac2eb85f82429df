/** `evaluate` and `predict` stages: a model over a table, without an update. */
import type { EvaluateStage, PredictStage, TrainStage } from "../compiler/project.ts";
import { joinPath, writeFile, writeJson } from "../formats/files.ts";
import { substitute } from "../ir/dim.ts";
import { InputError } from "../ir/errors.ts";
import type { Session } from "../runtime/program.ts";
import { requireBudget } from "./budget.ts";
import { bindSizes, checkTable, type DataTable, fillBatch } from "./columns.ts";
import type { Built, EntryPoint } from "./engine.ts";
import { batchesOf, entryName, entryPoints } from "./entries.ts";
import { Evaluation } from "./evaluate.ts";
import type { Scalars } from "./events.ts";
import type { RunHost } from "./host.ts";
import { loadParams } from "./loading.ts";
import { blameHeld } from "./nonfinite.ts";
import { stopIfAsked, stoppable } from "./stopping.ts";
import { prepareEvaluation } from "./train.ts";
import { zeros } from "./values.ts";

async function tableOf(stage: EvaluateStage | PredictStage, host: RunHost): Promise<DataTable> {
  const table = await host.table({ spec: stage.data, tokenizer: stage.tokenizer, separate: stage.separate, sequence: stage.sequence });
  if (table === undefined) throw new InputError("P0731", `\`${stage.data.make}\` has no held part`, ["give it `split:`"]);
  return table;
}

/** Compiles entries that change nothing, opens them, and gives them the values there are; with the names of the parameters. */
async function openFor(stage: string, points: readonly EntryPoint[], host: RunHost): Promise<{ session: Session; params: string[] }> {
  const built = await host.engine.build(points, { trained: [] });
  requireBudget(built, host.engine.memory, "the device");
  await stopIfAsked(host);
  const session = stoppable(await host.engine.open(built), host);
  try {
    await fillFor(stage, built, points, session, host);
  } catch (error) {
    await session.close();
    throw error;
  }
  return { session, params: Object.keys(built.program.params) };
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
  const evaluation = new Evaluation([stage.evaluation], [table], stage, host);
  const { session, params } = await openFor(stage.name, evaluation.points, host);
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
  const evaluation = await prepareEvaluation(stage, host);
  if (evaluation === undefined) return undefined;
  const { session, params } = await openFor(stage.name, evaluation.points, host);
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
  const batches = batchesOf(table.rows, stage.batch);
  const points = entryPoints("predict", [stage.entry], [sizes], [[...new Set(batches.map((rows) => rows.length))]]);
  const { session, params } = await openFor(stage.name, points, host);
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
