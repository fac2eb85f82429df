/**
 * Every method of the library, none left out: it can be attached, folds into the weights or says why it cannot, and lives with all the others at one place.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { artefactsFor } from "../../src/train/run/artefacts.ts";
import { ValueStore } from "../../src/train/values.ts";
import { compileText, SPECS } from "../support/compile.ts";
import { call, errorsOf, libraryMethods, moved, predictOf, settle } from "./support.ts";

const BERT = `import { BertForSequenceClassification } from "std/models/bert"
import { Linear, Attention, SelfAttention, AttentionSublayer, FeedForwardSublayer, FeedForward, TextModel, Positions, Embedding } from "std/nn"
model m = BertForSequenceClassification(vocab_size: 13, hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 16,
  max_position_embeddings: 24, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0)
`;
const LINEAR = "m.bert.encoder.layer[*].attention.self.{query, value}";
const WEIGHT = "m.bert.encoder.layer[*].attention.self.query.weight";
const FORWARD = "m.**: FeedForward";
const SUB = "m.**: FeedForwardSublayer";
const SELF = "m.**: SelfAttention";
const PFEIFFER = 'import { Pfeiffer } from "std/methods/bottleneck"\nattach p = Pfeiffer(size: 2) to m.**: FeedForwardSublayer\n';

interface Row {
  /** The method with options that fit a small model; by default without any. */
  readonly call?: string | undefined;
  readonly to?: string;
  /** What is attached or declared before. */
  readonly first?: string | undefined;
  /** Whether merging folds it, or a part of the reason that is given. */
  readonly merge: true | RegExp;
  /** Acts on the update alone: outputs do not show it. */
  readonly update?: true;
  /** Does nothing until it is loaded. */
  readonly silent?: true;
  /** Another test has it; why not here. */
  readonly elsewhere?: string;
}
const linear = (call?: string, merge: Row["merge"] = true): Row => ({ call, to: LINEAR, merge });
const update = (call?: string, to = WEIGHT, first?: string): Row => ({ call, to, first, merge: true, update: true });
const elsewhere = (why: string): Row => ({ merge: true, elsewhere: why });

const rows: Readonly<Record<string, Row>> = {
  // ── weights and products ──
  LoRA: linear("LoRA(rank: 2)"),
  OneSegment: { to: "m.bert.embeddings.token_type_embeddings", merge: true, silent: true },
  LoRAFA: linear("LoRAFA(rank: 2)"),
  LoRAEmbedding: { call: "LoRAEmbedding(rank: 2)", to: "m.bert.embeddings.word_embeddings", merge: true },
  OLoRA: linear("OLoRA(rank: 2)"),
  Difference: elsewhere("what PiSSA and OLoRA are when they are loaded: reparametrised.test.ts"),
  PSOFT: linear("PSOFT(rank: 2)"),
  Subspace: elsewhere("what PSOFT is when it is saved: reparametrised.test.ts"),
  OSF: linear("OSF()"),
  Lily: linear("Lily(rank: 2)", /not linear/),
  DyLoRA: linear("DyLoRA(rank: 2)"),
  KronA: linear("KronA(factor: 2)"),
  PiSSA: linear("PiSSA(rank: 2)"),
  DeltaLoRA: linear("DeltaLoRA(rank: 2)"),
  NF4: linear("NF4(block: 8)"),
  NF4Embedding: { call: "NF4Embedding(block: 8)", to: "m.bert.embeddings.word_embeddings", merge: true },
  // what rounding changes is too little to see here
  Half: { ...linear(), silent: true },
  Int8: { ...linear(), silent: true },
  HalfEmbedding: { to: "m.bert.embeddings.word_embeddings", merge: true, silent: true },
  Int8Embedding: { to: "m.bert.embeddings.word_embeddings", merge: true, silent: true },
  LoRABank: linear("LoRABank(count: 2, rank: 2)", /batch|row/),
  LoftQ: linear("LoftQ(rank: 2, block: 8)"),
  DoRA: linear("DoRA(rank: 2)"),
  DoRAEmbedding: { call: "DoRAEmbedding(rank: 2)", to: "m.bert.embeddings.word_embeddings", merge: true },
  AdaLoRA: linear("AdaLoRA(rank: 2, target: 1)"),
  IncreLoRA: linear("IncreLoRA()"),
  AddBias: linear(),
  BOFT: linear("BOFT(size: 4)"),
  BOFTConv: elsewhere("no model of text has a convolution: reparametrised.test.ts"),
  C3A: linear("C3A(block: 4)"),
  DeLoRA: linear("DeLoRA(rank: 2)"),
  FourierFT: linear("FourierFT(frequencies: 10)"),
  GraLoRA: linear("GraLoRA(rank: 4, blocks: 2)"),
  HiRA: linear("HiRA(rank: 2)"),
  HiRAEmbedding: { call: "HiRAEmbedding(rank: 2)", to: "m.bert.embeddings.word_embeddings", merge: true },
  WaveFT: linear("WaveFT(frequencies: 20)"),
  PEANuT: linear("PEANuT(rank: 2, depth: 1)"),
  PVeRA: linear("PVeRA(rank: 4)"),
  DEFT: linear("DEFT(rank: 2, alpha: 16)"),
  GLoRA: linear("GLoRA(rank: 2)"),
  LoRAConv: elsewhere("no model of text has a convolution: reparametrised.test.ts"),
  DoRAConv: elsewhere("no model of text has a convolution: reparametrised.test.ts"),
  IA3Conv: elsewhere("no model of text has a convolution: reparametrised.test.ts"),
  IA3ConvInput: elsewhere("no model of text has a convolution: reparametrised.test.ts"),
  HiRAConv: elsewhere("no model of text has a convolution: reparametrised.test.ts"),
  HRA: linear("HRA(rank: 2)"),
  HRAConv: elsewhere("no model of text has a convolution: reparametrised.test.ts"),
  IA3: linear(),
  IA3Input: linear(),
  LoHa: linear("LoHa(rank: 2)"),
  LoKr: linear("LoKr(rank: 2)"),
  LoHaConv: elsewhere("no model of text has a convolution: reparametrised.test.ts"),
  LoKrConv: elsewhere("no model of text has a convolution: reparametrised.test.ts"),
  MiSS: linear("MiSS(rank: 2)"),
  MiSSMini: linear("MiSSMini(rank: 2, columns: 2)"),
  MiSSBat: linear("MiSSBat(rank: 2)"),
  OFT: linear("OFT(block: 4)"),
  RandLoRA: linear("RandLoRA(rank: 2)"),
  UniLoRA: linear("UniLoRA(rank: 2, length: 7, bound: 1)"),
  RoAd: linear("RoAd(group: 4)"),
  SHiRA: linear("SHiRA(rank: 1)"),
  TinyLoRA: linear("TinyLoRA(entries: 4)"),
  TrainableTokens: { call: "TrainableTokens(tokens: [3, 5])", to: "m.bert.embeddings.word_embeddings", merge: true },
  SAID: linear("SAID(dim: 5)"),
  DiffPruning: linear(),
  ThresholdMask: linear(),
  VBLoRA: linear("VBLoRA(rank: 2, vectors: 6, length: 4)"),
  VBLoRATop: linear("VBLoRATop(rank: 2, vectors: 6, length: 4)"),
  VBLoRAChosen: { ...linear("VBLoRAChosen(rank: 2, vectors: 6, length: 4)"), silent: true },
  VeRA: linear("VeRA(rank: 4)"),
  LibraryDoRA: linear("LibraryDoRA(rank: 2)"),
  LibraryVeRA: linear("LibraryVeRA(rank: 2)"),
  GatedLoRA: linear("GatedLoRA(rank: 2)", /not linear/),
  GatedIA3: linear("GatedIA3()", /not linear/),
  FusedLoRA: elsewhere("it wants a fused projection: additive.test.ts and the goldens"),
  FusedIA3: elsewhere("it wants a fused projection: additive.test.ts and the goldens"),
  MTLLoRA: linear("MTLLoRA(rank: 2)"),
  MOELoRA: linear("MOELoRA(experts: 2, rank: 4, tasks: 2, task_dim: 3)", /batch|row/),
  MoLoRA: linear("MoLoRA(experts: 2, rank: 2)", /not linear/),
  Poly: linear("Poly(rank: 2, tasks: 2, skills: 2)", /batch|row/),
  VLPETValue: linear("VLPETValue(size: 2)", /not linear/),

  // ── beside and behind sublayers ──
  Sequential: { call: "Sequential(size: 2)", to: SUB, merge: /no product|not linear|more of the batch/ },
  Pfeiffer: { call: "Pfeiffer(size: 2)", to: SUB, merge: /no product|not linear|more of the batch/ },
  Residual: { call: "Residual(size: 2)", to: SUB, merge: /no product|not linear|more of the batch/ },
  Adapter: { call: "Adapter(size: 2)", to: SUB, merge: /no product|not linear|more of the batch/ },
  Parallel: { call: "Parallel(size: 2)", to: FORWARD, merge: /no product|not linear|more of the batch/ },
  ParallelSmall: { call: "ParallelSmall(size: 2)", to: FORWARD, merge: /no product|not linear|more of the batch/ },
  Lite: { call: "Lite(size: 2)", to: SUB, merge: true },
  Compacter: { call: "Compacter(reduction: 2, n: 2)", to: SUB, merge: /no product|not linear|more of the batch/ },
  CompacterPlus: { call: "CompacterPlus(reduction: 2, n: 2)", to: SUB, merge: /no product|not linear|more of the batch/ },
  VLPET: { call: "VLPET(size: 2, gate_size: 2)", to: SUB, merge: /no product|not linear|more of the batch/ },
  AdapterFusion: { first: PFEIFFER, call: "AdapterFusion([p])", to: SUB, merge: /no product|not linear|more of the batch/ },
  ScaLearn: { first: PFEIFFER, call: "ScaLearn([p])", to: SUB, merge: /no product|not linear|more of the batch/ },
  ScaLearnShared: { first: PFEIFFER, call: "ScaLearnShared([p])", to: SUB, merge: /no product|not linear|more of the batch/ },
  Hadamard: { to: SELF, merge: /no product|not linear|more of the batch/ },
  ReFT: { call: "ReFT(rank: 1, prefix: 1)", to: "m.bert.encoder.layer[*]", merge: /no product|not linear|more of the batch/ },

  AdaMix: { call: "AdaMix(size: 2)", to: SUB, merge: /no product|not linear|more of the batch/ },
  ProPETLAdapter: { call: "ProPETLAdapter(size: 2)", to: SUB, merge: /no product|not linear|more of the batch/ },
  ProPETLLoRA: linear("ProPETLLoRA(rank: 2, keep: 0.5)"),
  TinyAttention: { call: "TinyAttention()", to: SELF, merge: /no product|not linear|more of the batch/ },
  PASTA: { call: "PASTA()", to: "m.bert.encoder.layer[*]", merge: /no product|not linear|more of the batch|batch/ },
  LST: { call: "LST(reduction: 2)", to: "m.bert.encoder.layer", merge: /chain of blocks/ },
  Sparse: { call: 'Sparse(by: "magnitude")', to: WEIGHT, merge: true },
  Verbalizer: { call: "Verbalizer([1])", to: "m.classifier", merge: true },

  // ── in front ──
  Prefix: { call: "Prefix(tokens: 2)", to: SELF, merge: /no product|not linear|more of the batch/ },
  PrefixMLP: { call: "PrefixMLP(tokens: 2, hidden: 3)", to: SELF, merge: /no product|not linear|more of the batch/ },
  Cartridge: { call: "Cartridge(tokens: 2)", to: SELF, merge: /no product|not linear|more of the batch/ },
  PairedPrefix: { call: "PairedPrefix(tokens: 2)", to: SELF, merge: /no product|not linear|more of the batch/ },
  PairedPrefixMLP: { call: "PairedPrefixMLP(tokens: 2, hidden: 3)", to: SELF, merge: /no product|not linear|more of the batch/ },
  Shifted: { first: "", call: "Shifted(tokens: 2)", to: "m.**: Positions", merge: /no product|not linear|more of the batch/ },
  Prompt: { call: "Prompt(tokens: 2)", to: "m.**: TextModel", merge: /no product|not linear|more of the batch/ },
  LastColumn: elsewhere("it wants a causal classifier: the goldens"),
  PTuning: { call: "PTuning(tokens: 2, hidden: 3)", to: "m.**: TextModel", merge: /no product|not linear|more of the batch/ },
  MultitaskPrompt: { call: "MultitaskPrompt(tokens: 2)", to: "m.**: TextModel", merge: /no product|not linear|batch/ },
  Warp: { call: "Warp(front: 2, back: 1)", to: "m.**: TextModel", merge: /no product|not linear|more of the batch/ },
  Packed: elsewhere("it goes on a causal model: packing.test.ts"),
  Visual: elsewhere("it wants an encoder–decoder's table and pictures: counts.test.ts and the papers"),
  AdaptionPrompt: elsewhere("it goes on LLaMA: indexed.test.ts"),
  AdaptionPromptGPT2: elsewhere("it goes on GPT-2: indexed.test.ts"),
  Invertible: elsewhere("it goes on a masked language model: additive.test.ts"),
  InvertibleGlow: elsewhere("it goes on a masked language model: additive.test.ts"),

  // ── on attachments ──
  Gate: { first: PFEIFFER, call: "Gate()", to: "p", merge: /no product|not linear|more of the batch/ },
  PrefixGate: {
    first: `import { Prefix } from "std/methods/prefix"\nattach p = Prefix(tokens: 2) to ${SELF}\n`,
    call: "PrefixGate()",
    to: "p",
    merge: /no product|not linear|more of the batch/,
  },

  ForRows: { first: PFEIFFER, call: "ForRows(number: 0)", to: "p", merge: /no product|not linear|more of the batch/ },
  OnlyRows: elsewhere("it goes on what scales rows: rows.test.ts"),
  AdapterDrop: { first: PFEIFFER, call: "AdapterDrop(most: 1)", to: "p", merge: /no product|not linear|more of the batch/ },
  Stack: elsewhere("it wants attachments of another model: additive.test.ts"),
  Average: elsewhere("it wants attachments of another model: additive.test.ts"),
  Split: elsewhere("it wants attachments of another model: additive.test.ts"),
  BatchSplit: elsewhere("it wants attachments of another model: additive.test.ts"),
  InParallel: elsewhere("it wants attachments of another model: additive.test.ts"),

  // ── on the update ──
  LoRAPlus: update(),
  Sensitivity: update(),
  Fisher: update(),
  Steepness: update(),
  Moved: update(),
  Nearness: update(),
  SAM: update(),
  ChildTuningF: update(),
  ChildTuningD: update("ChildTuningD(by: f)", WEIGHT, `import { Fisher } from "std/methods/masks"\nattach f = Fisher() to ${WEIGHT}\n`),
  Masked: update("Masked(by: f, keep: 0.5)", WEIGHT, `import { Fisher } from "std/methods/masks"\nattach f = Fisher() to ${WEIGHT}\n`),
};

const SIZES = new Map([
  ["B", 2],
  ["S", 5],
]);
const ids = tensor("i32", [2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
const INPUTS: Readonly<Record<string, Tensor>> = {
  input_ids: ids,
  attention_mask: tensor("bool", [2, 5], [1, 1, 1, 1, 1, 1, 1, 1, 1, 0]),
  token_type_ids: tensor("i32", [2, 5], new Array(10).fill(0)),
  label: tensor("i32", [2], [0, 1]),
  adapter: tensor("i32", [2], [0, 1]),
  task_ids: tensor("i32", [2], [0, 0]),
  special: tensor("bool", [2, 5], new Array(10).fill(0)),
};
const methods = libraryMethods();
const mappings = readMappings(new NodeFiles(), "specs/std/methods", "specs/std/models");
const fileOf = new Map(methods.map((m) => [m.name, m.from]));
const importOf = (name: string) => `import { ${name} } from "${fileOf.get(name)}"\n`;
const imported = (name: string, row: Row) => (row.first?.includes(`import { ${name} }`) ? "" : importOf(name));
const look = (name: string, model: string) =>
  `predict ${name} { model = ${model}  data = jsonl("rows.jsonl")  columns = ["logits"]  sequence = 5  batch = 2 }\n`;

function logits(p: ReturnType<typeof compileText>, stage: string, values: ReturnType<typeof moved>): number[] {
  const out = call(p, predictOf(p, stage).entry, values, INPUTS, SIZES);
  return [...[...out].find(([key]) => key.endsWith("logits"))![1].data];
}
const far = (a: readonly number[], b: readonly number[]) => Math.max(...a.map((x, i) => Math.abs(x - b[i])));

test("no method is left out, and none is here that is gone", () => {
  expect(Object.keys(rows).sort()).toEqual([...new Set(methods.map((m) => m.name))].sort());
});

test("the page of methods names all of them", () => {
  const page = readFileSync(path.join(SPECS, "../docs/methods.md"), "utf8");
  expect(
    methods.filter(({ name, from }) => !page.split("\n").some((l) => l.includes(`\`${name}\``) && l.includes(`${from}.peft`))),
  ).toEqual([]);
});

describe("merging folds a method, or says why not", () => {
  for (const [name, row] of Object.entries(rows)) {
    if (row.elsewhere !== undefined || !fileOf.has(name)) continue;
    test(name, () => {
      const attached = `${BERT}${row.first ?? ""}${imported(name, row)}attach a = ${row.call ?? `${name}()`} to ${row.to}\n`;
      const p = compileText(`${attached}model plain = merge(m)\n${look("before", "m")}${look("after", "plain")}`);
      if (row.merge !== true) {
        const alone = compileText(`${attached}${look("before", "m")}`);
        expect(errorsOf(alone)).toEqual([]);
        const errors = errorsOf(p);
        expect(errors).toHaveLength(1);
        expect(errors[0]).toMatch(/^P0508/);
        expect(errors[0]).toMatch(row.merge);
        return;
      }
      expect(errorsOf(p)).toEqual([]);
      const values = moved(p);
      settle(p, values);
      const [before, after] = [logits(p, "before", values), logits(p, "after", values)];
      expect(far(before, after)).toBeLessThan(1e-5);
      // ... and there was something to fold
      if (!row.update && !row.silent) {
        const bare = compileText(`${BERT}${look("before", "m")}`);
        expect(far(before, logits(bare, "before", moved(bare)))).toBeGreaterThan(1e-4);
      }
    });
  }
});

describe("a method for Linear goes on a weight that is stored the other way round", () => {
  const GPT2 = `import { GPT2LMHeadModel } from "std/models/gpt2"
import { causal_lm } from "std/objectives"
model m = GPT2LMHeadModel(vocab_size: 13, n_positions: 16, n_embd: 8, n_layer: 1, n_head: 2, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)
`;
  const AT = "m.transformer.h[*].attn.c_attn";
  for (const [name, row] of Object.entries(rows)) {
    if (row.to !== LINEAR || !fileOf.has(name)) continue;
    test(name, () => {
      const body = `${GPT2}${importOf(name)}attach a = ${row.call ?? `${name}()`} to ${AT}\n`;
      const p = compileText(
        `${body}train t { objective = causal_lm(m)  data = jsonl("rows.jsonl")  sequence = 5  batch = 2  steps = 2 }\n${look("before", "m")}`,
      );
      expect(errorsOf(p)).toEqual([]);
      // starts are computed as well, and the outputs with them
      const values = moved(p, 0.01);
      expect(logits(p, "before", values).every(Number.isFinite)).toBe(true);
      // peft says of such modules that they are stored [in, out], whatever the method, where the type has the field
      if (p.params.size === new Set(p.models.flatMap((m) => m.params)).size) return;
      const files = new MemoryFiles();
      const value = (n: string) => (p.states.has(n) ? Float32Array.from(values.state(n, SIZES).values) : values.param(n));
      artefactsFor(p, files, mappings).adapter("out", { attachments: ["a"], models: [], heads: [], objectives: [] }, value);
      const config = JSON.parse(
        new TextDecoder().decode(files.content.get("out/adapter_config.json") ?? files.content.get("out/adapter.json")!),
      );
      if ("fan_in_fan_out" in config) expect(config.fan_in_fan_out).toBe(true);
    });
  }
});

test("a fresh model is saved with what transformers' AutoConfig asks for", () => {
  const p = compileText(BERT);
  const values = new ValueStore(p, () => undefined);
  const files = new MemoryFiles();
  artefactsFor(p, files, mappings).models("out", { attachments: [], models: ["m"], heads: [], objectives: [] }, (n) => values.param(n));
  const config = JSON.parse(new TextDecoder().decode(files.content.get("out/config.json")!));
  expect(config).toMatchObject({ model_type: "bert", architectures: ["BertForSequenceClassification"], hidden_size: 8 });
});

describe("all methods at one place", () => {
  // those that refuse a layer that others have changed would show here
  const stacked = Object.entries(rows).filter(([name, row]) => row.to === LINEAR && fileOf.has(name));
  for (const turn of [0, 1, 2]) {
    test(`one after another on the same projections, order ${turn + 1}`, () => {
      const order = stacked
        .map(([name, row], i) => ({ name, row, key: (i * (7 + 4 * turn) + 5 * turn) % stacked.length }))
        .sort((a, b) => a.key - b.key);
      const lines = order.map(({ name, row }, i) => `attach a${i} = ${row.call ?? `${name}()`} to ${LINEAR}\n`);
      const p = compileText(`${BERT}${order.map(({ name }) => importOf(name)).join("")}${lines.join("")}${look("before", "m")}`);
      expect(errorsOf(p)).toEqual([]);
      const out = logits(p, "before", moved(p, 0.01));
      expect(out.every(Number.isFinite)).toBe(true);
    });
  }
});
