/** Low rank beside frozen weights: one kernel for both, and no second tensor of the size of a weight. */
import { describe, expect, test } from "@jest/globals";
import { compileProgram } from "../../src/backends/compile.ts";
import type { TrainStage } from "../../src/compiler/project.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { stagesOf } from "../../src/train/stages/stages.ts";
import { compileText } from "../support/compile.ts";
import { errorsOf } from "./support.ts";

const [ROWS, TOKENS, WIDTH] = [4, 80, 72];
/** Of c_attn, c_proj, and the two of the MLP; no activation has so many elements. */
const WEIGHTS = [3 * WIDTH * WIDTH, WIDTH * WIDTH, 4 * WIDTH * WIDTH];
const AT = "m.transformer.h[*].{attn.{c_attn, c_proj}, mlp.{c_fc, c_proj}}";

/** A training step of a GPT-2 of one layer. `attached`: statements behind that of the model. */
async function step(attached: string) {
  const project = compileText(`import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA, LoRAFA } from "std/methods/lora"
import { DoRA } from "std/methods/dora"
import { LoHa } from "std/methods/loha_lokr"
import { ForRows, LoRABank } from "std/methods/rows"
import { causal_lm } from "std/objectives"
import { adamw } from "std/training"
model m = GPT2LMHeadModel(vocab_size: 50, n_positions: ${TOKENS}, n_embd: ${WIDTH}, n_layer: 1, n_head: 2, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)
${attached}
train {
  objective = causal_lm(m)
  data      = jsonl("rows.jsonl")
  sequence  = ${TOKENS}
  batch     = ${ROWS}
  optimizer = adamw(lr: 1e-3)
  params    = ${attached.includes(" b = ") ? "[a, b]" : "a"}
  steps     = 1
}
`);
  expect(errorsOf(project)).toEqual([]);
  const stage = stagesOf(project).find((s): s is TrainStage => s.verb === "train")!;
  const sizes = new Map([
    ["B", ROWS],
    ["S", TOKENS],
  ]);
  const { graph, scalars } = compileGraph(stage.step[0].graph, { sizes, options: { trained: stage.trained } });
  const { program, sites } = await compileProgram(
    [{ name: "step", graph, scalars }],
    { target: "wasm", arithmetic: "plain", workers: 1 },
    true,
  );
  const large = program.tensors.filter((t) => t.arena === "activations" && WEIGHTS.includes(t.bytes / 4));
  return { sites: sites.step, large, kernels: program.entries.find((e) => e.name === "step")!.steps.length };
}

describe("each site is one product, and no tensor has a weight's size", () => {
  test.each([
    ["LoRA", `attach a = LoRA(rank: 4, alpha: 8) to ${AT}`, 4],
    ["rank-stabilised, with dropout", `attach a = LoRA(rank: 4, alpha: 8, rslora: true, dropout: 0.1) to ${AT}`, 4],
    ["with a bias", `attach a = LoRA(rank: 4, alpha: 8, bias: true) to ${AT}`, 4],
    ["with a fixed A", `attach a = LoRAFA(rank: 4, alpha: 8) to ${AT}`, 4],
    ["two at each site", `attach a = LoRA(rank: 4) to ${AT}\nattach b = LoRA(rank: 2) to ${AT}`, 8],
    ["weights whose rows have lengths of their own", `attach a = DoRA(rank: 4, alpha: 8) to ${AT}`, 4],
    ["adapters of some rows", `attach a = LoRA(rank: 4) to ${AT}\nattach r = ForRows(number: 1) to a`, 4],
    ["an adapter for each row", `attach a = LoRABank(count: 3, rank: 4) to ${AT}`, 4],
  ])("%s", async (_, attached, count) => {
    const { sites, large } = await step(attached);
    expect(sites).toEqual({ fused: count, apart: [] });
    expect(large).toEqual([]);
  });
});

test("a weight that is made whole is told", async () => {
  const { sites, large } = await step(`attach a = LoHa(rank: 4) to ${AT}`);
  expect(sites.fused).toBe(0);
  expect(sites.apart.map((s) => s.why)).toEqual(Array(4).fill("a weight is made whole"));
  expect(large.length).toBeGreaterThan(0);
});
