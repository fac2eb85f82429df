/** Objectives of preferences and rewards against numbers of PyTorch by TRL's equations (`test/golden/objectives`): the loss, and the gradient of one matrix. */
import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { compile } from "../../src/compiler/compile.ts";
import type { TrainStage } from "../../src/compiler/project.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { openSafetensors } from "../../src/formats/safetensors/read.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { Sources } from "../../src/train/compiler-host.ts";
import { stagesOf } from "../../src/train/stages/stages.ts";
import { ValueStore } from "../../src/train/values.ts";
import { call, errorsOf, settle } from "./support.ts";

const files = new NodeFiles();
const mappings = readMappings(files, "specs/std/methods", "specs/std/models");
const cases = JSON.parse(readFileSync("test/golden/objectives/cases.json", "utf8")) as [name: string, call: string][];
const io = openSafetensors(files, "test/golden/objectives/io.safetensors");

/** Columns of the files, by the names that an objective asks for. */
const NAMES: Readonly<Record<string, string>> = { input_ids: "chosen", attention_mask: "chosen_mask" };
const SIZES = new Map([["B", 3], ["S", 9]]); // biome-ignore format: a row

function input(name: string, dtype: Tensor["dtype"]): Tensor {
  const key = `in.${NAMES[name] ?? name}`;
  return tensor(dtype, io.info(key).shape, Float64Array.from(io.read(key)));
}

test.each(cases.map(([name, text], i) => [text, name, i] as const))("%s", (text, name, i) => {
  const head = name === "reward";
  const sources = new Sources(
    files,
    { source: (path) => readFileSync(`specs/${path}`, "utf8") },
    mappings,
    new Map([
      [
        "main.peft",
        `import { LlamaForCausalLM, LlamaForSequenceClassification } from "std/models/llama"
import { ${name} } from "std/objectives/${name}"
import { sgd } from "std/training"
model base = LlamaForCausalLM from "test/golden/models/llama-lm"
model reference = base
model old = base
model m = ${head ? 'LlamaForSequenceClassification(num_labels: 1) from "test/golden/models/llama-lm" except **.score' : "base"}
attach a = load("test/golden/combined/a") to m
attach b = load("test/golden/combined/b") to old
train run { objective = ${text}  params = a.**.lora_B.weight  data = jsonl("x")  optimizer = sgd(lr: 1)  steps = 1 }
`,
      ],
    ]),
  );
  const p = compile("main.peft", sources);
  expect(errorsOf(p)).toEqual([]);
  const values = new ValueStore(p, sources.open);
  settle(p, values);
  if (head) values.setParam("m.score.weight", Float32Array.from(io.read("in.head")));
  const stage = stagesOf(p).find((s): s is TrainStage => s.verb === "train")!;
  const [entry] = stage.step;
  const inputs = Object.fromEntries(entry.columns.map((c) => [c.name, input(c.name, c.dtype)]));
  const sizes = new Map([...SIZES, ["R", io.info(name === "kto" ? "in.kl_ids" : "in.rejected").shape[1]]] as [string, number][]);
  const out = call(p, entry, values, inputs, sizes);
  const found = (end: string) => [...out].find(([key]) => key.endsWith(end))![1].data;
  expect(found("loss")[0]).toBeCloseTo(io.read(`out.${i}`)[0], 4);
  const weight = [...p.params.keys()].find((key) => key.startsWith("a.") && key.endsWith("layers.1.self_attn.v_proj.lora_B.weight"))!;
  const [before, after] = [values.param(weight), found(weight)];
  const gradient = Float32Array.from(io.read(`grad.${i}`));
  const gap = gradient.reduce((most, g, at) => Math.max(most, Math.abs(before[at] - after[at] - g)), 0);
  expect(gap).toBeLessThan(1e-4 * Math.max(...gradient.map(Math.abs)));
});
