/** A program as a folder that PyTorch trains without peftc: its text, its first values, its rows and their order. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { tell } from "../../backends/lowering.ts";
import { printTorch } from "../../backends/torch/program.ts";
import type { TrainStage } from "../../compiler/project.ts";
import { type Files, joinPath, writeFile } from "../../formats/files.ts";
import { type OutTensor, writeSafetensors } from "../../formats/safetensors/write.ts";
import { InputError } from "../../ir/errors.ts";
import type { DriverHooks } from "../../ir/passes/pass.ts";
import { early } from "../../ir/pipeline.ts";
import { fillBatch } from "../../train/data/columns.ts";
import { showBytes } from "../../train/engine/budget.ts";
import type { RunHost } from "../../train/host.ts";
import { fitAcross, requireForward } from "../../train/run/across.ts";
import { type LaidTrain, layTrain } from "../../train/stages/train.ts";
import { specOf } from "./engine.ts";
import { PYTHON_FOLDER } from "./worker.ts";

type Host = Pick<RunHost, "table" | "values" | "place">;

/** The Python files that go with every program. */
const SHIPPED = ["peftc_ops.py", "peftc_runtime.py", "train.py"];

/** Graphs between rewrites, for who asks to see them: nothing is written. */
export async function printTorchPasses(stage: TrainStage, host: Host, hooks: DriverHooks): Promise<void> {
  requireForward(stage.reverse);
  const { points } = await layTrain(stage, { ...host, engine: { splits: "if additive" } });
  tell(early, points, hooks);
  if (!early.some((p) => p.name === hooks.stopAfter)) printTorch(points, { hooks });
}

/** Gives the names of the files written. */
export async function writeTorchPackage(files: Files, folder: string, stage: TrainStage, host: Host, title: string): Promise<string[]> {
  requireForward(stage.reverse);
  const laid = await layTrain(stage, { ...host, engine: { splits: "if additive" } });
  const splits = laid.summing !== undefined;
  const points = laid.points.filter(({ name }) => !name.startsWith("evaluate"));
  const { place } = host;
  const printed = printTorch(points, { title, ...(place && { place: (n) => (n.origin.span ? place(n.origin.span) : undefined) }) });
  // one process with all parameters; more, and parts of them, take less
  const { recompute, smallest } = fitAcross(printed, points, { processes: 1, shard: "ddp", recompute: false, parts: 1 }, stage.memory);
  if (smallest !== undefined)
    throw new InputError(
      "P0901",
      `a process takes ${showBytes(smallest)} with layers recomputed, more than \`memory\` (${showBytes(stage.memory!)})`,
      ["leave `memory` out for a cluster, where `peftc plan --on torch --processes N` says what a process takes"],
    );
  const written: string[] = [];
  const put = (name: string, text: string) => {
    writeFile(files, joinPath(folder, name), new TextEncoder().encode(text));
    written.push(name);
  };
  const store = (name: string, tensors: readonly OutTensor[]) => {
    writeSafetensors(files, joinPath(folder, name), tensors);
    written.push(name);
  };
  for (const [name, text] of printed.files) put(name, text);
  for (const name of SHIPPED) put(name, readFileSync(join(PYTHON_FOLDER, name), "utf8"));
  const kept = [...printed.states.keys()].filter((name) => laid.states.has(name));
  const spec = {
    ...specOf(printed),
    splits,
    recompute,
    tables: laid.tables.length,
    trained: stage.trained,
    kept,
    updates: stage.step.map((_, table) => entriesOf(laid, table)),
  };
  put("program.json", `${JSON.stringify(spec, null, 1)}\n`);
  store("values.safetensors", [
    ...[...printed.params, ...printed.sources]
      .filter(([name]) => printed.prepare?.made.includes(name) !== true)
      .map(([name, { shape }]): OutTensor => ({ name: `param:${name}`, shape, dtype: "F32", values: () => host.values.param(name) })),
    ...kept.map((name): OutTensor => {
      const { dtype, shape } = printed.states.get(name)!;
      return {
        name: `state:${name}`,
        shape,
        dtype: dtype === "f32" ? "F32" : "I32",
        values: () => host.values.state(name, laid.states.get(name)!).values,
      };
    }),
  ]);
  laid.tables.forEach((table, i) => {
    const { columns } = stage.step[i];
    const rows = Array.from({ length: table.rows }, (_, row) => row);
    const filled = fillBatch(columns, table, rows, laid.sizes[i]);
    store(
      `data-${i}.safetensors`,
      columns.map(({ name, dtype }) => ({
        name,
        shape: [table.rows, ...innerOf(filled[name].length / table.rows)],
        dtype: dtype === "f32" ? ("F32" as const) : ("I32" as const),
        values: () => filled[name],
      })),
    );
  });
  store("order.safetensors", orderOf(laid));
  return written;
}

/** The inside of a row as numbers side by side: its shape is the entry's to say. */
const innerOf = (width: number): number[] => (width === 1 ? [] : [width]);

/** The entries of an update of a table, in their order: those for each part, then the one that ends it. */
function entriesOf({ points, summing }: LaidTrain, table: number): { parts: string[]; finish: string | null } {
  const suffix = table > 0 ? `_table_${table}` : "";
  const names = new Set(points.map((p) => p.name));
  if (summing === undefined) return { parts: [`step${suffix}`], finish: null };
  return {
    parts: [`count${suffix}`, `gradients${suffix}`].filter((name) => names.has(name)),
    // it has no rows, so its name says that it has none
    finish: [...names].find((name) => name === `update${suffix}`)!,
  };
}

function orderOf({ order, total }: LaidTrain): OutTensor[] {
  const rows: number[] = [];
  const ends: number[] = [];
  const tables: number[] = [];
  const batches: number[] = [];
  for (let step = 0; step < total; step++) {
    const { table, batches: mine } = order.step(step);
    tables.push(table);
    batches.push(mine.length);
    for (const batch of mine) {
      rows.push(...batch);
      ends.push(rows.length);
    }
  }
  const list = (name: string, values: number[]): OutTensor => ({
    name,
    shape: [values.length],
    dtype: "I32",
    values: () => Int32Array.from(values),
  });
  return [list("rows", rows), list("ends", ends), list("tables", tables), list("batches", batches)];
}
