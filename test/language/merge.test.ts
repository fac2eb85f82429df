/** `merge(m)`: what attachments do, as parameters. */
import { describe, expect, test } from "@jest/globals";
import type { PredictStage, Project } from "../../src/compiler/project.ts";
import { interpret, resultKey } from "../../src/ir/interpret.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { merge } from "../../src/train/stages/merge.ts";
import { ValueStore } from "../../src/train/values.ts";
import { compileText } from "../support/compile.ts";

const HEAD = `
import { GPT2LMHeadModel } from "std/models/gpt2"
import { LlamaForCausalLM } from "std/models/llama"
import { Linear, Embedding, Attention, FeedForwardSublayer } from "std/nn"
import { LoRA, LoRAEmbedding } from "std/methods/lora"
import { DoRA } from "std/methods/dora"
import { OFT } from "std/methods/oft"
import { IA3, IA3Input } from "std/methods/ia3"
import { Prefix } from "std/methods/prefix"
import { Pfeiffer } from "std/methods/bottleneck"
import { causal_lm } from "std/objectives"
import { sgd } from "std/training"
method Keep(rows: [int]) on Parameter { value := value[rows] }
method Own() on Embedding { param up: f32[embedding_dim, 2] = normal(1)  param of: f32[num_embeddings, 2] = normal(1)  y := y + of[ids] @ up.T }
method Lately() on Linear { param d: f32[out_features, in_features] = normal(1)  if training { y := tanh(y) + x @ d.T } else { weight := weight + d } }
method Bend() on Linear { y := tanh(y) }
method Wander() on Linear { param step: f32[in_features] = normal(1)  weight := weight + mean(x) * step }
model m = GPT2LMHeadModel(vocab_size: 11, n_positions: 16, n_embd: 8, n_layer: 2, n_head: 2, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)
model l = LlamaForCausalLM(vocab_size: 11, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 2, num_attention_heads: 2)
`;

function project(body: string): Project {
  return compileText(HEAD + body);
}
const problems = (body: string) => project(body).problems.map((p) => `${p.code} ${p.message}${p.label ? `; ${p.label}` : ""}`);

/** Logits of both models after all parameters of attachments were moved off their starts; the largest difference, relative. */
function gap(p: Project): number {
  expect(p.problems).toEqual([]);
  const store = new ValueStore(p, () => undefined);
  for (const d of p.params.values())
    if (d.owner.kind === "attachment")
      store.setParam(
        d.name,
        Float32Array.from(store.param(d.name), (v, i) => v + 0.3 * Math.sin(i + d.name.length)),
      );
  for (const action of p.actions) if (action.kind === "merge") expect(merge(action, store).difference).toBeLessThan(1e-6);
  const logits = (stage: PredictStage) => {
    const { graph } = compileGraph(stage.entry.graph, {
      sizes: new Map([
        ["B", 2],
        ["S", 5],
      ]),
    });
    const params = { get: (name: string) => tensor("f32", store.shape(name), Float64Array.from(store.param(name))) };
    const inputs = new Map([
      ["input_ids", tensor("i32", [2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])],
      ["attention_mask", tensor("bool", [2, 5], new Array(10).fill(1))],
    ]);
    return interpret(graph, { params, inputs, states: new Map() }).get(resultKey({ role: "output", name: "logits" }))!.data;
  };
  const [before, after] = p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "predict" ? [logits(a.stage)] : []));
  return Math.max(...before.map((v, i) => Math.abs(v - after[i]))) / Math.max(...before.map(Math.abs));
}
const LOOK = (m: string) => `
model plain = merge(${m})
predict a { model = ${m} data = jsonl("x") columns = ["logits"] }
predict b { model = plain data = jsonl("x") columns = ["logits"] }
`;

describe("merge", () => {
  test("a line that is only taken while training keeps nothing from folding", () => {
    expect(gap(project(`attach a = Lately() to m.transformer.h[*].attn.c_attn ${LOOK("m")}`))).toBeLessThan(1e-6);
  });
  const cases: Record<string, [string, string]> = {
    "LoRA on all of GPT-2's products": ["m", "attach a = LoRA(rank: 2) to m.transformer.**: Linear"],
    "several on one product, one of them on another's way in": [
      "l",
      "attach a = LoRA(rank: 2) to l.**.up_proj  attach b = IA3Input() to l.**.up_proj  attach c = IA3() to l.**.up_proj  attach d = DoRA(rank: 2) to l.**.up_proj",
    ],
    "a rotation": ["l", "attach a = OFT(block: 4) to l.**.{q_proj, v_proj}"],
    "embeddings by their weight and by their rows": [
      "l",
      "attach a = LoRAEmbedding(rank: 2) to l.model.embed_tokens  attach b = Own() to l.model.embed_tokens",
    ],
    "a method on the parameter, which a tied head uses too": [
      "m",
      "method Twice() on Parameter { value := 2 * value }  attach a = Twice() to m.transformer.wte.weight",
    ],
    "a merged model that is changed again and merged again": [
      "twice",
      "attach a = LoRA(rank: 2) to m.**.c_fc  model once = merge(m)  model twice = once  attach b = LoRA(rank: 3) to twice.**.c_attn",
    ],
  };
  for (const [name, [model, text]] of Object.entries(cases)) test(name, () => expect(gap(project(text + LOOK(model)))).toBeLessThan(1e-5));

  test("shapes that change are checked against the new configuration", () => {
    const keep = "attach k = Keep(rows: [0, 2, 3, 7]) to m.transformer.wte.weight\n";
    const p = project(`${keep}model small = merge(m, vocab_size: 4)`);
    expect(p.problems).toEqual([]);
    expect(p.params.get("small.transformer.wte.weight")!.shape).toEqual([4, 8]);
    const store = new ValueStore(p, () => undefined);
    for (const action of p.actions) if (action.kind === "merge") merge(action, store);
    const [wide, small] = ["m", "small"].map((m) => store.param(`${m}.transformer.wte.weight`));
    expect([...small]).toEqual([0, 2, 3, 7].flatMap((row) => [...wide.slice(row * 8, row * 8 + 8)]));
    expect(problems(`${keep}model small = merge(m)`)).toEqual([
      "P0606 `transformer.wte.weight` is [4, 8] after merging, the new model wants [11, 8]",
    ]);
  });

  test("what cannot be folded says why", () => {
    const why = (attach: string, model = "m") =>
      problems(`attach a = ${attach} to ${model}\nmodel plain = merge(${model.split(".")[0]})`)[0];
    expect(why("Bend()", "m.**.c_fc")).toMatch(/^P0508 .*c_fc \(Conv1D\) it rebinds `y`; it is not linear in the input \(`tanh`\)/);
    expect(why("Pfeiffer(size: 2)", "m.**: FeedForwardSublayer")).toMatch(/^P0508 `a` cannot be folded/);
    expect(why("Prefix(tokens: 2)", "m.**: Attention")).toMatch(/^P0508 `a` .* rebinds `k`, `v`, `mask`/);
    expect(why("LoRA(rank: 2)", "m.lm_head")).toMatch(/^P0508 transformer.wte.weight is shared by/);
    expect(why("Wander()", "l.**.q_proj")).toMatch(/^P0508 what is done to `.*q_proj.weight` depends on the batch/);
    expect(why("IA3()", "l.**.q_proj")).toBeUndefined();
    expect(problems("method Plus() on Linear { y := y + 1 }\nattach a = Plus() to l.**.q_proj\nmodel p = merge(l)")[0]).toMatch(
      /no bias to take it/,
    );
    expect(problems("attach a = IA3() to m.**.c_fc\nx = merge(m)")).toEqual(["P0509 a merged model needs a name"]);
  });
});
