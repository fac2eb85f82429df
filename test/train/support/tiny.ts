/** A project made by hand: y = x·w + b fitted by gradient descent with momentum, w frozen in a file, an "adapter" a trained beside it. */
import type { Entry, ParamDecl, Project, TrainStage } from "../../../src/compiler/project.ts";
import { openCheckpoint } from "../../../src/formats/checkpoint.ts";
import type { Files } from "../../../src/formats/files.ts";
import { MemoryFiles } from "../../../src/formats/memory.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { Builder } from "../../../src/ir/build.ts";
import { symbol } from "../../../src/ir/dim.ts";
import type { Graph, Node, Origin, Result } from "../../../src/ir/graph.ts";
import { keyOf, threefry } from "../../../src/ir/random.ts";
import type { DataTable } from "../../../src/train/data/columns.ts";
import { referenceEngine } from "../../../src/train/engine/reference.ts";
import type { RunEvent } from "../../../src/train/events.ts";
import type { RunHost } from "../../../src/train/host.ts";
import { Provenances } from "../../../src/train/run/provenance.ts";
import { ValueStore } from "../../../src/train/values.ts";

export const WIDTH = 4;
const B = symbol("B");
const span = { file: "tiny.peft", start: 10, end: 20 };
const at = (path: string): Origin => ({ path, span });

/** `plain`: only what adds up over batches · `blow`: takes the logarithm of something that becomes negative after some updates. */
export function tinyProject(
  stage: Partial<TrainStage> = {},
  options: { readonly blow?: boolean; readonly rate?: number; readonly plain?: boolean } = {},
): Project {
  const b = new Builder(at(""));
  const model = () => {
    const x = b.input("x", { dtype: "f32", shape: [B, WIDTH] });
    const target = b.input("label", { dtype: "f32", shape: [B] });
    const w = b.param("m.w", [WIDTH]);
    const a = b.param("lora.a", [WIDTH]);
    const y = b.at(at("m.layer.0")).matmul(x, b.at(at("lora")).add(w, a));
    const error = b.sub(y, target);
    let loss = b.reduce("mean", b.mul(error, error));
    if (options.blow) loss = b.add(loss, b.mul(b.at(at("m.layer.1")).unary("log", b.sub(1, b.reduce("sum", b.mul(a, a)))), 1e-3));
    return { loss, a, error };
  };
  const step = ((): Graph => {
    const { loss, a, error } = model();
    const grad = b.make("grad", [loss, a]);
    const m = b.state("optimizer.m", { dtype: "f32", shape: [WIDTH] });
    const m2 = b.add(b.mul(m, 0.5), grad);
    const noise = b.draw("uniform", [WIDTH], b.table(keyOf(7, "noise"), [2], "i32"), b.input("step", { dtype: "i32", shape: [] }));
    const rate = b.constant(options.rate ?? 0.05);
    const next = b.sub(a, b.mul(b.mul(m2, b.add(1, b.mul(noise, 0.1))), b.broadcastTo(rate, [WIDTH])));
    return graph([
      ["output", "loss", loss],
      ["output", "grad_norm", b.unary("sqrt", b.reduce("sum", b.mul(grad, grad)))],
      ...(options.plain ? [] : ([["output", "worst", b.reduce("max", b.unary("abs", error))]] as const)),
      ["param", "lora.a", next],
      ["state", "optimizer.m", m2],
    ]);
  })();
  const evaluation = graph([["output", "loss", model().loss]]);
  const columns = [
    { name: "x", dtype: "f32", shape: [B, WIDTH] },
    { name: "label", dtype: "f32", shape: [B] },
  ] as const;
  const entry = (g: Graph): Entry => ({ graph: g, columns, states: g === step ? ["optimizer.m"] : [] });
  const params: ParamDecl[] = [
    {
      name: "m.w",
      path: "w",
      owner: { kind: "model", name: "m" },
      shape: [WIDTH],
      source: { kind: "file", folder: "models/tiny", tensor: "w" },
      frozen: false,
    },
    {
      name: "lora.a",
      path: "a",
      owner: { kind: "attachment", name: "lora" },
      shape: [WIDTH],
      source: { kind: "start", graph: graph([["output", "value", b.constant(0, "f32", [WIDTH])]]) },
      frozen: false,
    },
  ];
  const train: TrainStage = {
    verb: "train",
    name: "train",
    span,
    folder: "tiny/train",
    tokenizer: undefined,
    separate: false,
    step: [entry(step)],
    evaluation: [entry(evaluation)],
    trained: ["lora.a"],
    data: [{ kind: "dataset", make: "random", args: [], options: {}, part: "main", span }],
    steps: 40,
    epochs: undefined,
    batch: 4,
    accumulate: 1,
    sequence: undefined,
    memory: undefined,
    reverse: 0,
    precision: "f32",
    seed: 3,
    shuffle: true,
    evaluate: { every: 10, data: undefined, metrics: [{ name: "loss", options: {} }], best: undefined, stopAfter: undefined },
    save: undefined,
    checkpoint: { every: 5, keep: 1 },
    attachments: ["lora"],
    models: [],
    heads: [],
    objectives: [],
    ...stage,
  };
  return {
    file: "tiny.peft",
    actions: [{ kind: "stage", stage: train }],
    params: new Map(params.map((p) => [p.name, p])),
    states: new Map([
      [
        "optimizer.m",
        {
          name: "optimizer.m",
          dtype: "f32",
          shape: [WIDTH],
          graph: graph([["output", "value", b.constant(0, "f32", [WIDTH])]]),
          owner: "train",
          lasts: false,
        },
      ],
    ]),
    models: [],
    attachments: [],
    problems: [],
  };
}

function graph(results: readonly (readonly [Result["role"], string, Node])[]): Graph {
  return { results: results.map(([role, name, node]) => ({ role, name, node })) };
}

/** `rows` rows of x, and a label that a linear function gives. */
export function tinyTable(rows: number, salt: number, weights: readonly number[] = [0.5, -0.3, 0.2, 0.1]): DataTable {
  const random = (i: number) => (threefry(salt, 1, i, 0)[0] >>> 8) * 2 ** -24 - 0.5;
  const x = Array.from({ length: rows }, (_, r) => Array.from({ length: WIDTH }, (_, k) => random(r * WIDTH + k)));
  const label = x.map((row) => row.reduce((sum, value, k) => sum + value * weights[k], 0));
  return {
    name: "random",
    rows,
    columns: new Map([
      ["x", { rank: 1, row: (i) => x[i], shape: () => [WIDTH], pad: 0 }],
      ["label", { rank: 0, row: (i) => [label[i]], shape: () => [], pad: 0 }],
    ]),
  };
}

export function tinyFiles(): MemoryFiles {
  const files = new MemoryFiles();
  writeTiny(files);
  return files;
}
export function writeTiny(files: Files): void {
  writeSafetensors(files, "models/tiny/model.safetensors", [
    { name: "w", shape: [WIDTH], dtype: "F32", values: () => [0.1, 0.2, 0.3, 0.4] },
  ]);
}

export interface TinyHost extends RunHost {
  readonly events: RunEvent[];
}

export function tinyHost(project: Project, files: Files, over: Partial<RunHost> = {}): TinyHost {
  const events: RunEvent[] = [];
  let clock = 0;
  const main = tinyTable(18, 5);
  const held = tinyTable(6, 6);
  const open = (folder: string) => openCheckpoint(files, folder);
  const values = over.values ?? new ValueStore(project, open);
  return {
    project,
    files,
    engine: referenceEngine(),
    values,
    provenances: new Provenances(project, { files, open }, values, "0"),
    table: async ({ spec }) => (spec.part === "held" ? held : main),
    predicted: () => {},
    artefacts: {
      adapter: (folder, { attachments }, value) => {
        if (attachments.length === 0) return [];
        writeSafetensors(files, `${folder}/adapter_model.safetensors`, [
          { name: "a", dtype: "F32", shape: [WIDTH], values: () => value("lora.a") },
        ]);
        return [folder];
      },
      verdicts: () => [],
      models: () => [],
    },
    listen: (event) => void events.push(event),
    interrupted: () => false,
    now: () => ++clock,
    version: "0",
    ...over,
    events,
  };
}
