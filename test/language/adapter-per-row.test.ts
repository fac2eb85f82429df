/** Several adapters in one batch: a row sees its own adapter and no other's, in values and in gradients. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import type { Entry, Project } from "../../src/compiler/project.ts";
import { parse } from "../../src/compiler/read/parse.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { promptsOf } from "../../src/train/data/data.ts";
import { generate, type PromptTokenizer } from "../../src/train/stages/generate.ts";
import { tensorOf, ValueStore } from "../../src/train/values.ts";
import { libraryMethods } from "../methods/support.ts";
import { compileText } from "../support/compile.ts";
import { tinyFiles, tinyHost } from "../train/support/tiny.ts";

const HEAD = `
import { GPT2LMHeadModel } from "std/models/gpt2"
import { BertForSequenceClassification } from "std/models/bert"
import { SelfAttention, Attention, Linear, AttentionSublayer, FeedForwardSublayer, FeedForward } from "std/nn"
import { LoRA, LoRAFA } from "std/methods/lora"
import { AdaLoRA } from "std/methods/adalora"
import { VeRA } from "std/methods/vera"
import { Prefix, PrefixMLP, Shifted } from "std/methods/prefix"
import { Prompt, PTuning } from "std/methods/prompt"
import { Pfeiffer, Sequential, Parallel, Lite } from "std/methods/bottleneck"
import { Compacter, CompacterPlus } from "std/methods/compacter"
import { IA3, IA3Input } from "std/methods/ia3"
import { Hadamard } from "std/methods/hadamard"
import { AddBias } from "std/methods/bitfit"
import { ForRows, OnlyRows, LoRABank } from "std/methods/rows"
import { causal_lm, classification } from "std/objectives"
import { sgd } from "std/training"
model m = GPT2LMHeadModel(vocab_size: 11, n_positions: 16, n_embd: 8, n_layer: 2, n_head: 2, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)
model b = BertForSequenceClassification(vocab_size: 11, max_position_embeddings: 16, hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2,
  intermediate_size: 16, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0, num_labels: 3)
`;

function project(body: string): Project {
  const made = compileText(HEAD + body);
  expect(made.problems.map((p) => `${p.code} ${p.message}`)).toEqual([]);
  return made;
}

interface Rows {
  readonly ids: readonly (readonly number[])[];
  readonly mask?: readonly (readonly number[])[];
  readonly adapter?: readonly number[];
}

/** Adapters that do something: many start at nothing. */
const moved = (name: string, start: Float32Array): Float32Array =>
  /^(m|b)\./.test(name) ? start : start.map((v, i) => v + 0.3 * Math.sin(7 * i + name.length + name.charCodeAt(0)));

function run(p: Project, entry: Entry, rows: Rows) {
  const store = new ValueStore(p, () => undefined);
  const [B, S] = [rows.ids.length, rows.ids[0].length];
  const { graph } = compileGraph(entry.graph, {
    sizes: new Map([
      ["B", B],
      ["S", S],
    ]),
  });
  const params = new Map([...p.params.values()].map((d) => [d.name, tensorOf("f32", d.shape, moved(d.name, store.param(d.name)))]));
  const mask = (rows.mask ?? rows.ids.map((r) => r.map(() => 1))).flat();
  const inputs = new Map([
    ["input_ids", tensor("i32", [B, S], rows.ids.flat())],
    [
      "labels",
      tensor(
        "i32",
        [B, S],
        rows.ids.flat().map((t, i) => (mask[i] ? t : -100)),
      ),
    ],
    [
      "label",
      tensor(
        "i32",
        [B],
        rows.ids.map((_, i) => i % 3),
      ),
    ],
    ["attention_mask", tensor("bool", [B, S], mask)],
    ["token_type_ids", tensor("i32", [B, S], new Array(B * S).fill(0))],
    ["adapter", tensor("i32", [B], rows.adapter ?? rows.ids.map(() => 0))],
    ["task_ids", tensor("i32", [B], new Array(B).fill(1))],
    [
      "special",
      tensor(
        "bool",
        [B, S],
        rows.ids.flat().map((_, i) => Number(i % S === 0)),
      ),
    ],
    ["step", tensor("i32", [], [0])],
    ["steps", tensor("i32", [], [4])],
  ]);
  const { states } = p;
  const stateValues = new Map(
    [...states.keys()].map((name) => {
      const held = store.state(name, new Map());
      return [name, tensorOf(held.dtype, held.shape, held.values)];
    }),
  );
  return interpret(graph, { params, states: stateValues, inputs });
}

const predict = (model: string) => `predict p { model = ${model}  data = text("x.txt")  columns = ["logits"] }`;
const known = new Map<string, number[][]>();
/** Logits of each row, computed once for a program and its rows. */
function logits(body: string, rows: Rows, model = "m"): number[][] {
  const key = JSON.stringify([body, rows, model]);
  const seen = known.get(key) ?? computeLogits(body, rows, model);
  known.set(key, seen);
  return seen;
}
function computeLogits(body: string, rows: Rows, model: string): number[][] {
  const p = project(`${body} ${predict(model)}`);
  const stage = p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "predict" ? [a.stage] : []))[0];
  const out = run(p, stage.entry, rows).get("output:logits")!;
  const size = out.data.length / rows.ids.length;
  return rows.ids.map((_, i) => Array.from(out.data.slice(i * size, (i + 1) * size)));
}

const IDS = [
  [1, 2, 3, 4, 5],
  [6, 7, 8, 9, 10],
  [3, 1, 4, 1, 5],
  [2, 7, 1, 8, 2],
];
const MASK = [
  [1, 1, 1, 1, 1],
  [1, 1, 1, 1, 0],
  [1, 1, 1, 1, 1],
  [1, 1, 1, 0, 0],
];
const ADAPTER = [0, 1, -1, 0];

/** What is attached, and which of the two methods makes it hold for some rows. */
const cases: [name: string, model: string, attach: (name: string) => string, by: "ForRows" | "OnlyRows"][] = [
  ["LoRA", "m", (n) => `attach ${n} = LoRA(rank: 2, alpha: 4) to m.**: Linear`, "ForRows"],
  ["LoRA-FA", "m", (n) => `attach ${n} = LoRAFA(rank: 2) to m.transformer.h[*].attn.c_attn`, "ForRows"],
  ["AdaLoRA", "m", (n) => `attach ${n} = AdaLoRA(rank: 2) to m.transformer.h[*].attn.c_attn`, "ForRows"],
  ["VeRA", "m", (n) => `attach ${n} = VeRA(rank: 3) to m.transformer.h[*].{attn.c_attn, mlp.c_fc}`, "ForRows"],
  ["Pfeiffer", "m", (n) => `attach ${n} = Pfeiffer(size: 3) to m.**: FeedForwardSublayer`, "ForRows"],
  ["Sequential", "b", (n) => `attach ${n} = Sequential(size: 3) to [b.**: AttentionSublayer, b.**: FeedForwardSublayer]`, "ForRows"],
  ["Parallel", "m", (n) => `attach ${n} = Parallel(size: 3) to m.**: FeedForward`, "ForRows"],
  ["Lite", "m", (n) => `attach ${n} = Lite(size: 3) to m.**: FeedForwardSublayer`, "ForRows"],
  [
    "Compacter",
    "m",
    (n) => `attach ${n} = Compacter(reduction: 2, n: 2) to [m.**: AttentionSublayer, m.**: FeedForwardSublayer]`,
    "ForRows",
  ],
  ["Compacter++", "m", (n) => `attach ${n} = CompacterPlus(reduction: 2, n: 2) to m.**: FeedForwardSublayer`, "ForRows"],
  ["biases", "m", (n) => `attach ${n} = AddBias() to m.**: Linear`, "ForRows"],
  ["LoRA on a pooler", "b", (n) => `attach ${n} = LoRA(rank: 2, alpha: 4) to b.**: Linear`, "ForRows"],
  ["Prefix", "m", (n) => `attach ${n} = Prefix(tokens: ${n === "a" ? 3 : 2}) to m.**: SelfAttention`, "OnlyRows"],
  ["PrefixMLP", "b", (n) => `attach ${n} = PrefixMLP(tokens: ${n === "a" ? 3 : 2}, hidden: 4) to b.**: SelfAttention`, "OnlyRows"],
  ["Prompt", "m", (n) => `attach ${n} = Prompt(tokens: ${n === "a" ? 3 : 2}) to m.transformer`, "OnlyRows"],
  ["Prompt", "b", (n) => `attach ${n} = Prompt(tokens: ${n === "a" ? 3 : 2}) to b.bert`, "OnlyRows"],
  ["Prompt behind positions", "b", (n) => `attach ${n} = Prompt(tokens: ${n === "a" ? 3 : 2}, late: true) to b.bert`, "OnlyRows"],
  ["P-tuning", "m", (n) => `attach ${n} = PTuning(tokens: ${n === "a" ? 2 : 3}, hidden: 4) to m.transformer`, "OnlyRows"],
  ["(IA)³", "m", (n) => `attach ${n} = IA3() to m.transformer.h[*].attn.c_attn`, "OnlyRows"],
  ["(IA)³ of what goes in", "m", (n) => `attach ${n} = IA3Input() to m.transformer.h[*].mlp.c_proj`, "OnlyRows"],
  ["Hadamard", "b", (n) => `attach ${n} = Hadamard() to b.**: SelfAttention`, "OnlyRows"],
];

const FC = "m.transformer.h[*].mlp.c_fc";
const QV = "b.bert.encoder.layer[*].attention.self.{query, value}";
const FF = "b.**: FeedForwardSublayer";
/** An adapter on another copy of the model, to be mixed. */
const SOURCE = "model o = b attach s = Pfeiffer(size: 2) to o.**: FeedForwardSublayer";
/** The same of every other method that fills one of the two roles, by its name: a call and its places. */
const others: Readonly<Record<string, readonly [call: string, to: string, first?: string]>> = {
  AdaMix: ["AdaMix(size: 2, experts: 2)", FF],
  Adapter: ["Adapter(size: 2)", FF],
  AdapterFusion: ["AdapterFusion([s])", FF, SOURCE],
  AdaptionPromptGPT2: ["AdaptionPromptGPT2(tokens: 2)", "m.transformer.h[*].attn"],
  C3A: ["C3A(block: 4)", FC],
  Cartridge: ["Cartridge(tokens: 2)", "m.**: SelfAttention"],
  DeLoRA: ["DeLoRA(rank: 2)", FC],
  DyLoRA: ["DyLoRA(rank: 2)", FC],
  FusedIA3: ["FusedIA3()", "m.transformer.h[*].attn.c_attn"],
  FusedLoRA: ["FusedLoRA(rank: 2)", "m.transformer.h[*].attn.c_attn"],
  GatedIA3: ["GatedIA3()", FC],
  GatedLoRA: ["GatedLoRA(rank: 2)", FC],
  GraLoRA: ["GraLoRA(rank: 4, blocks: 2)", FC],
  HRA: ["HRA(rank: 2)", FC],
  HiRA: ["HiRA(rank: 2)", FC],
  Invertible: ["Invertible()", "m"],
  InvertibleGlow: ["InvertibleGlow()", "m"],
  LibraryDoRA: ["LibraryDoRA(rank: 2)", FC],
  LibraryVeRA: ["LibraryVeRA(rank: 2)", FC],
  MTLLoRA: ["MTLLoRA(rank: 2)", FC],
  MOELoRA: ["MOELoRA(experts: 2, rank: 4, tasks: 2, task_dim: 3)", FC],
  MiSS: ["MiSS(rank: 2)", FC],
  MiSSMini: ["MiSSMini(rank: 2, columns: 2)", FC],
  MoLoRA: ["MoLoRA(experts: 2, rank: 2)", FC],
  MultitaskPrompt: ["MultitaskPrompt(tokens: 2)", "m.transformer"],
  OFT: ["OFT(block: 4)", FC],
  PASTA: ["PASTA()", "b.bert.encoder.layer[*]"],
  PSOFT: ["PSOFT(rank: 2)", FC],
  PVeRA: ["PVeRA(rank: 3)", FC],
  PairedPrefix: ["PairedPrefix(tokens: 2)", "m.**: SelfAttention"],
  PairedPrefixMLP: ["PairedPrefixMLP(tokens: 2, hidden: 4)", "m.**: SelfAttention"],
  ParallelSmall: ["ParallelSmall(size: 2)", "m.**: FeedForward"],
  Poly: ["Poly(rank: 2, tasks: 2, skills: 2)", FC],
  ProPETLAdapter: ["ProPETLAdapter(size: 2)", FF],
  ProPETLLoRA: ["ProPETLLoRA(rank: 2, keep: 0.5)", QV],
  RandLoRA: ["RandLoRA(rank: 2)", FC],
  ReFT: ["ReFT(rank: 1, prefix: 1, orthogonal: false)", "b.bert.encoder.layer[*]"],
  Residual: ["Residual(size: 2)", FF],
  RoAd: ["RoAd(group: 4)", FC],
  ScaLearn: ["ScaLearn([s])", FF, SOURCE],
  ScaLearnShared: ["ScaLearnShared([s])", FF, SOURCE],
  TinyAttention: ["TinyAttention()", "b.**: SelfAttention"],
  UniLoRA: ["UniLoRA(rank: 2, length: 8)", FC],
  VBLoRA: ["VBLoRA(rank: 2, vectors: 6, length: 4)", FC],
  VLPET: ["VLPET(size: 2, gate_size: 2)", FF],
  VLPETValue: ["VLPETValue(size: 2)", QV],
  Verbalizer: ["Verbalizer([1])", "b.classifier"],
};
const elsewhere: Readonly<Record<string, string>> = {
  AdaptionPrompt: "as on GPT-2",
  IncreLoRA: "the same sum as AdaLoRA's",
  LoRABank: "has rows of its own: below",
  Shifted: "below, with the prefix whose positions it shifts",
  VBLoRAChosen: "what is left of VBLoRA",
  VBLoRATop: "what is left of VBLoRA",
};
const FILE_OF = new Map(libraryMethods().map(({ name, from }) => [name, from]));
/** Methods of the library that fill one of the two roles. */
const fills = (role: string): string[] =>
  [...new Set(FILE_OF.values())].flatMap((from) =>
    parse(readFileSync(`specs/${from}.peft`, "utf8"), from).program.items.flatMap((item) =>
      item.kind === "Method" && item.fills.some((f) => f.role.text === role) ? [item.name.text] : [],
    ),
  );
const byRow = new Set(fills("ByRow"));
for (const [name, [call, to, first]] of Object.entries(others)) {
  const imported = `import { ${name} } from "${FILE_OF.get(name)}"`;
  const attach = (n: string) => `${n === "a" ? `${imported} ${first ?? ""}` : ""} attach ${n} = ${call} to ${to}`;
  cases.push([name, /\bb\./.test(to) ? "b" : "m", attach, byRow.has(name) ? "OnlyRows" : "ForRows"]);
}

test("every method that can hold for some rows is tried", () => {
  const tried = (name: string) => cases.some(([, , attach]) => new RegExp(`= ${name}\\(`).test(attach("a"))) || name in elsewhere;
  expect([...fills("Delta"), ...byRow].filter((name) => !tried(name))).toEqual([]);
});

const closeTo = (actual: readonly number[], wanted: readonly number[]) => {
  expect(actual).toHaveLength(wanted.length);
  for (const [i, v] of actual.entries()) expect(Math.abs(v - wanted[i])).toBeLessThan(1e-9);
};
/** Values at padded places mean nothing. */
const real = (values: readonly number[], row: number, model: string): number[] => {
  if (model !== "m") return [...values];
  const width = values.length / 5;
  return values.filter((_, i) => MASK[row][Math.floor(i / width)] === 1);
};

describe("each row has the output of the model with its own adapter alone", () => {
  test.each(cases)("%s on %s", (_name, model, attach, by) => {
    const rows: Rows = { ids: IDS, mask: MASK, adapter: ADAPTER };
    const both = logits(`${attach("a")} ${attach("c")} attach ra = ${by}(0) to a attach rc = ${by}(1) to c`, rows, model);
    // what a case imports and stands on goes along with the other adapter too
    const head = attach("a").slice(0, attach("a").indexOf("attach a ="));
    const alone = {
      0: logits(attach("a"), rows, model),
      1: logits(head + attach("c"), rows, model),
      [-1]: logits("", rows, model),
    };
    for (const [i, adapter] of ADAPTER.entries()) {
      closeTo(real(both[i], i, model), real(alone[adapter as 0 | 1 | -1][i], i, model));
    }
    // and the three differ
    for (const other of [0, 1] as const) {
      expect(Math.max(...alone[other][0].map((v, i) => Math.abs(v - alone[-1][0][i])))).toBeGreaterThan(1e-4);
    }
    expect(Math.max(...alone[0][0].map((v, i) => Math.abs(v - alone[1][0][i])))).toBeGreaterThan(1e-4);
  });

  test("methods of different kinds, with positions that a prefix shifts", () => {
    const rows: Rows = { ids: IDS, mask: MASK, adapter: [1, 0, -1, 2] };
    const lora = "attach a = LoRA(rank: 2, alpha: 4) to m.transformer.h[*].attn.c_attn";
    const prefix = "attach c = Prefix(tokens: 3) to m.**: SelfAttention attach cs = Shifted(3) to m.transformer";
    const prompt = "attach e = Prompt(tokens: 2) to m.transformer";
    const all = logits(
      `${lora} ${prefix} ${prompt} attach r0 = ForRows(0) to a attach r1 = OnlyRows(1) to c attach r2 = OnlyRows(1) to cs attach r3 = OnlyRows(2) to e`,
      rows,
    );
    const alone = [logits(prefix, rows)[0], logits(lora, rows)[1], logits("", rows)[2], logits(prompt, rows)[3]];
    for (const [i, wanted] of alone.entries()) closeTo(real(all[i], i, "m"), real(wanted, i, "m"));
  });
});

describe("a bank of LoRAs", () => {
  test("is the LoRA of its number, row by row; a number that it does not have is the base", () => {
    const rows: Rows = { ids: IDS, mask: MASK, adapter: [1, 0, 7, -1] };
    const bank = "attach k = LoRABank(2, rank: 2, alpha: 4) to m.transformer.h[*].attn.c_attn";
    const p = project(`${bank} ${predict("m")}`);
    const stage = p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "predict" ? [a.stage] : []))[0];
    const got = run(p, stage.entry, rows).get("output:logits")!;
    const size = got.data.length / 4;
    // the same matrices, given to one LoRA apiece
    const one = (n: number, i: number) => {
      const q = project(`attach a = LoRA(rank: 2, alpha: 4) to m.transformer.h[*].attn.c_attn ${predict("m")}`);
      const s = q.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "predict" ? [a.stage] : []))[0];
      const store = new ValueStore(p, () => undefined);
      const { graph } = compileGraph(s.entry.graph, {
        sizes: new Map([
          ["B", 4],
          ["S", 5],
        ]),
      });
      const params = new Map(
        [...q.params.values()].map((d) => {
          const from = /^a\.(.*)\.(lora_[AB])\.weight$/.exec(d.name);
          if (!from) return [d.name, tensorOf("f32", d.shape, new ValueStore(q, () => undefined).param(d.name))];
          const name = `k.${from[1]}.${from[2]}`;
          const whole = moved(name, store.param(name));
          const each = whole.length / 2;
          return [d.name, tensorOf("f32", d.shape, whole.slice(n * each, (n + 1) * each))];
        }),
      );
      const inputs = new Map([
        ["input_ids", tensor("i32", [4, 5], IDS.flat())],
        ["attention_mask", tensor("bool", [4, 5], MASK.flat())],
      ]);
      const out = interpret(graph, { params, states: new Map(), inputs }).get("output:logits")!;
      return Array.from(out.data.slice(i * size, (i + 1) * size));
    };
    const row = (i: number) => Array.from(got.data.slice(i * size, (i + 1) * size));
    closeTo(real(row(0), 0, "m"), real(one(1, 0), 0, "m"));
    closeTo(real(row(1), 1, "m"), real(one(0, 1), 1, "m"));
    const base = logits("", rows);
    for (const i of [2, 3]) closeTo(real(row(i), i, "m"), real(base[i], i, "m"));
  });
});

describe("gradients", () => {
  const train = (model: string) =>
    `train t { objective = ${model === "m" ? "causal_lm" : "classification"}(${model}) params = [a, c] data = text("x.txt") sequence = 5 batch = 2 steps = 4 optimizer = sgd(lr: 1) }`;
  /** What one step of rate 1 takes off a parameter. */
  function step(body: string, model: string, rows: Rows): Map<string, number[]> {
    const p = project(`${body} ${train(model)}`);
    const stage = p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "train" ? [a.stage] : []))[0];
    const out = run(p, stage.step[0], rows);
    const store = new ValueStore(p, () => undefined);
    return new Map(
      stage.trained.map((name) => {
        const start = moved(name, store.param(name));
        return [name, Array.from(out.get(`param:${name}`)!.data, (v, i) => start[i] - v)];
      }),
    );
  }
  const picked = cases.filter(([name]) => ["LoRA", "Prefix", "Prompt", "(IA)³", "ReFT", "RoAd"].includes(name));
  test.each(picked)("of %s on %s come from its own rows", (_name, model, attach, by) => {
    const pair = [IDS[0], IDS[2]];
    const both = `${attach("a")} ${attach("c")} attach ra = ${by}(0) to a attach rc = ${by}(1) to c`;
    const mixed = step(both, model, { ids: pair, adapter: [0, 1] });
    // its row beside one that no adapter is for: what the other adapter does with its row is nothing to this one
    const first = step(both, model, { ids: pair, adapter: [0, -1] });
    const second = step(both, model, { ids: pair, adapter: [-1, 1] });
    let largest = 0;
    for (const [name, grad] of mixed) {
      const own = name.startsWith("a.") ? first : second;
      const other = name.startsWith("a.") ? second : first;
      closeTo(grad, own.get(name)!);
      for (const v of other.get(name)!) expect(v).toBe(0);
      largest = Math.max(largest, ...grad.map(Math.abs));
    }
    expect(largest).toBeGreaterThan(1e-5);
  });
});

describe("generation", () => {
  const tokenizer: PromptTokenizer = { ids: {}, encode: (text) => [...text].map(Number), decode: (ids) => ids.join(" ") };
  const stage = `generate { model = m  prompts = [{ text: "123", adapter: 0 }, { text: "123", adapter: 1 }, { text: "7", adapter: 1 }, { text: "123", adapter: -1 }]
    max_tokens = 6  stop = "" }`;
  async function written(body: string): Promise<(readonly number[])[]> {
    const p = project(`${body} ${stage}`);
    const host = tinyHost(p, tinyFiles());
    for (const name of p.params.keys()) host.values.setParam(name, Float32Array.from(moved(name, host.values.param(name))));
    const made = p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "generate" ? [a.stage] : []))[0];
    return (await generate(made, host, tokenizer, undefined, promptsOf(made.prompts!))).map((s) => s.tokens);
  }
  test("each prompt is answered by its adapter, caches, prompts in front and all", async () => {
    const lora = "attach a = LoRA(rank: 2, alpha: 20) to m.**: Linear";
    const prompt = "attach c = Prompt(tokens: 3) to m.transformer attach d = Prefix(tokens: 2) to m.**: SelfAttention";
    const mixed = await written(`${lora} ${prompt} attach r0 = ForRows(0) to a attach r1 = OnlyRows(1) to c attach r2 = OnlyRows(1) to d`);
    const [first, second, base] = [await written(lora), await written(prompt), await written("")];
    expect(mixed).toEqual([first[0], second[1], second[2], base[3]]);
    expect(new Set([first[0], second[1], base[3]].map(String)).size).toBe(3);
  });
  test("a prompt that says no adapter, where one is asked for, is told how", async () => {
    const body = `attach a = LoRA(rank: 2) to m.**: Linear attach r0 = ForRows(0) to a`;
    const p = project(`${body} generate { model = m  prompts = ["1"]  max_tokens = 2 }`);
    const made = p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "generate" ? [a.stage] : []))[0];
    const run = generate(made, tinyHost(p, tinyFiles()), tokenizer, undefined, promptsOf(made.prompts!));
    await expect(run).rejects.toThrow("generation has no column `adapter`");
  });
});
