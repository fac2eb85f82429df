/**
 * Exact numbers of parameters on full-size models, through `peftc plan` on folders that hold a configuration and no weights. What the numbers should be was worked out from the
 * papers' formulas (or is the papers' own), independently of this library.
 */
import { beforeAll, describe, expect, test } from "@jest/globals";
import { type Place, peftc, place } from "../cli/support.ts";
import { CONFIGS } from "./full-size.ts";

let at: Place;
beforeAll(() => {
  at = place();
  for (const [name, config] of Object.entries(CONFIGS)) at.put(`${name}/config.json`, JSON.stringify(config));
  at.put("rows.jsonl", "");
});

interface Counts {
  readonly models: Record<string, number>;
  readonly attachments: Record<string, number>;
  readonly stages: Record<string, number>;
}

async function counts(spec: string): Promise<Counts> {
  at.put("counts.peft", spec);
  const outcome = await peftc(at, ["plan", "counts.peft", "--sizes", "--json"]);
  const events = outcome.events();
  const sizes = events.find((e) => e.event === "sizes") as Record<string, { name: string; parameters: number; trained: number }[]>;
  if (sizes === undefined) throw new Error(outcome.out + outcome.err);
  const by = (list: { name: string; parameters?: number; trained?: number }[]) =>
    Object.fromEntries(list.map((x) => [x.name, x.parameters ?? x.trained ?? -1]));
  return { models: by(sizes.models), attachments: by(sizes.attachments), stages: by(sizes.stages) };
}

/** Methods on copies of one base: a statement each, whose attachments all count. */
async function attached(header: string, methods: Readonly<Record<string, string>>): Promise<Record<string, number>> {
  const made: Record<string, number> = {};
  const lines: string[] = [];
  const owners: [string, string][] = [];
  Object.entries(methods).forEach(([name, text], i) => {
    lines.push(`model m${i} = base`);
    text.split(";").forEach((part, j) => {
      const [method, ...to] = part.trim().split(" to ");
      lines.push(`attach a${i}_${j} = ${method} to ${to.join(" to ").replace(/\bm\b/g, `m${i}`)}`);
      owners.push([`a${i}_${j}`, name]);
    });
  });
  const { attachments } = await counts(`${header}\n${lines.join("\n")}\n`);
  for (const [attachment, name] of owners) made[name] = (made[name] ?? 0) + attachments[attachment];
  return made;
}

const ROBERTA = `import { RobertaForSequenceClassification } from "std/models/bert"
import { Linear, Norm, SelfAttention, Attention, AttentionSublayer, FeedForwardSublayer, FeedForward } from "std/nn"
import { LoRA, LoRAFA } from "std/methods/lora"
import { AdaLoRA } from "std/methods/adalora"
import { IA3, IA3Input } from "std/methods/ia3"
import { Sequential, Pfeiffer, Parallel, Lite } from "std/methods/bottleneck"
import { Prefix, PrefixMLP } from "std/methods/prefix"
import { Prompt } from "std/methods/prompt"
import { Compacter, CompacterPlus } from "std/methods/compacter"
import { Hadamard } from "std/methods/hadamard"
import { ProPETLAdapter, ProPETLLoRA } from "std/methods/propetl"
import { AdapterFusion, ScaLearn, ScaLearnShared } from "std/methods/fusion"
import { classification } from "std/objectives"
`;

/** Methods without a head: attachments alone. */
const ENCODER: Readonly<Record<string, readonly [method: string, base: number, large: number]>> = {
  "LoRA r=8 q,v": ["LoRA(rank: 8) to m.**.self.{query, value}", 294_912, 786_432],
  "LoRA r=8 on all six": ["LoRA(rank: 8) to m.roberta.encoder.**: Linear", 1_327_104, 3_538_944],
  "LoRA-FA r=8 q,v": ["LoRAFA(rank: 8) to m.**.self.{query, value}", 147_456, 393_216],
  "AdaLoRA r=12 on all six": ["AdaLoRA(rank: 12) to m.roberta.encoder.**: Linear", 1_991_520, 5_310_144],
  "prefix, flat, 30": ["Prefix(tokens: 30) to m.**: SelfAttention", 552_960, 1_474_560],
  "prefix by MLP, 30, m=512": ["PrefixMLP(tokens: 30, hidden: 512) to m.**: SelfAttention", 9_872_384, 25_770_496],
  "prefix by MLP, 30, m=800": ["PrefixMLP(tokens: 30, hidden: 800) to m.**: SelfAttention", 15_402_272, 40_221_472],
  Pfeiffer: ["Pfeiffer() to m.**: FeedForwardSublayer", 894_528, 3_171_840],
  Houlsby: ["Sequential() to [m.**: AttentionSublayer, m.**: FeedForwardSublayer]", 1_789_056, 6_343_680],
  parallel: ["Parallel() to m.**: FeedForward", 7_091_712, 25_202_688],
  "mix-and-match": ["PrefixMLP(tokens: 30, hidden: 800) to m.**: SelfAttention; Parallel() to m.**: FeedForward", 22_493_984, 65_424_160],
  Compacter: ["Compacter() to [m.**: AttentionSublayer, m.**: FeedForwardSublayer]", 57_088, 152_128],
  "Compacter++": ["CompacterPlus() to m.**: FeedForwardSublayer", 28_576, 76_096],
  Hadamard: ["Hadamard() to m.**: SelfAttention", 18_432, 49_152],
  "prompt, 10": ["Prompt(tokens: 10) to m.roberta", 7_680, 10_240],
};

/** With the classification head, as a stage trains them. `large` left out: no number is known. */
const TRAINED: Readonly<Record<string, readonly [attach: string, params: string, base: number, large: number]>> = {
  "prompt, 20": ["attach a = Prompt(tokens: 20) to m.roberta", "[a, m.classifier]", 607_490, 1_072_130],
  "prefix, flat, 20": ["attach a = Prefix(tokens: 20) to m.**: SelfAttention", "[a, m.classifier]", 960_770, 2_034_690],
  "(IA)3 keys, values, both output.dense": [
    "attach a = IA3() to m.**.self.{key, value} attach b = IA3Input() to m.**.output.dense",
    "[a, b, m.classifier]",
    656_642,
    1_223_682,
  ],
  "(IA)3 keys, values, feed-forward": [
    "attach a = IA3() to m.**.self.{key, value} attach b = IA3Input() to m.roberta.encoder.layer[*].output.dense",
    "[a, b, m.classifier]",
    647_426,
    1_199_106,
  ],
  "BitFit with the head": ["", "[m.roberta.**.bias, m.classifier]", 694_274, 1_323_010],
  BitFit: ["", "m.roberta.**.bias", 102_144, 271_360],
  "norms alone": ["", "m.**: Norm", 38_400, 100_352],
  "LoRA r=8 q,v": ["attach a = LoRA(rank: 8) to m.**.self.{query, value}", "[a, m.classifier]", 887_042, 1_838_082],
  "AdaLoRA r=12 q,v": ["attach a = AdaLoRA(rank: 12) to m.**.self.{query, value}", "[a, m.classifier]", 1_034_786, 2_231_874],
  "ProPETL adapter, a twelfth": [
    "attach a = ProPETLAdapter(size: floor(m.config.hidden_size / 12)) to m.**: FeedForwardSublayer",
    "[a, m.classifier]",
    1_870_914,
    5_404_759,
  ],
  "ProPETL prefix, 64, m=512": [
    "attach a = PrefixMLP(tokens: 64, hidden: 512) to m.**: SelfAttention",
    "[a, m.classifier]",
    10_490_626,
    26_856_962,
  ],
  "ProPETL LoRA r=32, masks alone": [
    "attach a = ProPETLLoRA(rank: 32) to m.**.self.{query, value}",
    "[a.**.{A_score, B_score}, m.classifier]",
    1_771_778,
    4_197_378,
  ],
  "sequential, 200, with a norm a layer": [
    "attach a = Sequential(size: 200) to [m.**: AttentionSublayer, m.**: FeedForwardSublayer]",
    "[a, m.roberta.encoder.layer[*].output.LayerNorm]",
    7_414_464,
    19_768_704,
  ],
};

describe("RoBERTa (methods-a 5.3 of the references)", () => {
  const sizes = [
    ["roberta-base", 124_647_170],
    ["roberta-large", 355_361_794],
  ] as const;
  for (const [i, [folder, total]] of sizes.entries()) {
    test(`${folder}: the model, and every method alone`, async () => {
      const header = `${ROBERTA}model base = RobertaForSequenceClassification(num_labels: 2) from "${folder}"`;
      const spec = Object.fromEntries(Object.entries(ENCODER).map(([name, [method]]) => [name, method]));
      expect((await counts(header)).models.base).toBe(total);
      expect(await attached(header, spec)).toEqual(Object.fromEntries(Object.entries(ENCODER).map(([name, row]) => [name, row[1 + i]])));
    });
    test(`${folder}: what a stage trains`, async () => {
      const seen: Record<string, number> = {};
      const lines = Object.values(TRAINED).map(
        ([attach, params], n) => `model m${n} = base
${attach.replace(/\bm\b/g, `m${n}`).replace(/\b(attach )?([ab])\b(?= =|,|\])/g, `$1$2${n}`)}
train s${n} { objective = classification(m${n}) params = ${params.replace(/\bm\b/g, `m${n}`).replace(/\b([ab])\b/g, `$1${n}`)}
  data = jsonl("rows.jsonl") sequence = 16 steps = 1 }`,
      );
      const header = `${ROBERTA}model base = RobertaForSequenceClassification(num_labels: 2) from "${folder}"`;
      const { stages } = await counts(`${header}\n${lines.join("\n")}\n`);
      Object.keys(TRAINED).forEach((name, n) => {
        seen[name] = stages[`s${n}`];
      });
      expect(seen).toEqual(Object.fromEntries(Object.entries(TRAINED).map(([name, row]) => [name, row[2 + i]])));
    });
  }

  test("fusion and ScaLearn over eight sources (methods-b A5, A6)", async () => {
    const header = `${ROBERTA}model base = RobertaForSequenceClassification(num_labels: 2) from "roberta-base"
sources = []
for n in 0..8 { model s = base attach one = Pfeiffer() to s.**: FeedForwardSublayer  sources = [...sources, one] }`;
    const to = "to m.**: FeedForwardSublayer";
    expect(
      await attached(header, {
        fusion: `AdapterFusion(sources) ${to}`,
        scalearn: `ScaLearn(sources) ${to}`,
        uniform: `ScaLearn(sources, uniform: true) ${to}`,
        shared: `ScaLearnShared(sources) ${to}`,
        "shared, uniform": `ScaLearnShared(sources, uniform: true) ${to}`,
      }),
    ).toEqual({ fusion: 21_252_096, scalearn: 73_728, uniform: 96, shared: 6_144, "shared, uniform": 8 });
  });

  test("LiST's adapters, and what it advertises: the head as well, of whose decoder three words' rows (methods-b A10)", async () => {
    const { attachments, stages } = await counts(`${ROBERTA}import { RobertaForMaskedLM } from "std/models/bert"
import { Verbalizer } from "std/methods/warp"
import { prompted } from "std/objectives"
model m = RobertaForMaskedLM from "roberta-large"
attach lite = Lite(size: 128) to [m.**: AttentionSublayer, m.**: FeedForwardSublayer]
attach rows = Verbalizer([10, 20, 30]) to m.lm_head.decoder
train t { objective = prompted(m, [[10], [20], [30]]) params = [lite, rows, m.lm_head.{dense, layer_norm, bias}]
  data = jsonl("rows.jsonl") sequence = 16 steps = 1 }`);
    expect([attachments.lite, stages.t]).toEqual([12_582_912, 13_687_897]);
  });

  test("PETapter: the adapter, and a head that scores the pieces of the label words (methods-b A19)", async () => {
    const pieces = [2, 6];
    const { attachments, stages } = await counts(`${ROBERTA}import { BertModel, BertConfig } from "std/models/bert"
import { Tagger, LayerNorm, gelu } from "std/nn"
import { tagging } from "std/objectives"
module PETHead(dim: int, pieces: int) {
  dense = Linear(dim, dim)  LayerNorm = LayerNorm(dim, eps: 1e-12)  decoder = Linear(dim, pieces)
  forward(x: f32[..., dim]) -> y: f32[..., pieces] { y = decoder(LayerNorm(gelu(dense(x)))) }
}
module PETapter(c: BertConfig, pieces: int) as Tagger {
  roberta = BertModel(c, pooled: false, position_offset: true)
  head    = PETHead(c.hidden_size, pieces)
  forward(input_ids: i32[B, S], attention_mask: bool[B, S] = true) -> logits: f32[B, S, pieces] {
    hidden = roberta(input_ids, attention_mask).last_hidden_state
    logits = head(hidden)
  }
}
${pieces
  .map(
    (n) => `model m${n} = PETapter(pieces: ${n}) from "xlmr-large"
attach a${n} = Pfeiffer() to m${n}.**: FeedForwardSublayer
train t${n} { objective = tagging(m${n}) params = [a${n}, m${n}.head] data = jsonl("rows.jsonl") sequence = 16 steps = 1 }`,
  )
  .join("\n")}`);
    for (const n of pieces)
      expect([attachments[`a${n}`], stages[`t${n}`] - attachments[`a${n}`]]).toEqual([3_171_840, 1_051_648 + 1025 * n]);
    expect(stages.t6).toBe(4_229_638);
  });
});

describe("models", () => {
  const rows: [folder: string, model: string, from: string, parameters: number][] = [
    ["plm-1.8b", "PLMForCausalLM", "plm", 1_825_458_176],
    ["llama-7b", "LlamaForCausalLM", "llama", 6_738_415_616],
    ["llama-13b", "LlamaForCausalLM", "llama", 13_015_864_320],
    ["t5-base", "T5ForConditionalGeneration", "t5", 222_903_552],
    ["t5-large", "T5ForConditionalGeneration", "t5", 737_668_096],
    ["bart-base", "BartForConditionalGeneration", "bart", 139_420_416],
    ["xlmr-base", "RobertaForMaskedLM", "bert", 278_295_186],
    ["xlmr-base-70k", "RobertaForMaskedLM", "bert", 140_341_969],
  ];
  test.each(rows)("%s", async (folder, model, from, parameters) => {
    const { models } = await counts(`import { ${model} } from "std/models/${from}"\nmodel m = ${model} from "${folder}"\n`);
    expect(models.m).toBe(parameters);
  });

  test("LLaMA under LoRA", async () => {
    for (const [folder, all, qv] of [
      ["llama-7b", 159_907_840, 4_194_304],
      ["llama-13b", 250_347_520, 6_553_600],
    ] as const) {
      const header = `import { LlamaForCausalLM } from "std/models/llama"
import { LoRA } from "std/methods/lora"
import { Linear } from "std/nn"
model base = LlamaForCausalLM from "${folder}"`;
      const methods = { all: "LoRA(rank: 64) to m.model.**: Linear", qv: "LoRA(rank: 8) to m.**.{q_proj, v_proj}" };
      expect(await attached(header, methods)).toEqual({ all, qv });
    }
  });

  test("T5 under LoRA and (IA)3", async () => {
    for (const [folder, lora, kv, ff] of [
      ["t5-base", 884_736, 55_296, 129_024],
      ["t5-large", 2_359_296, 147_456, 344_064],
    ] as const) {
      const header = `import { T5ForConditionalGeneration } from "std/models/t5"
import { LoRA } from "std/methods/lora"
import { IA3, IA3Input } from "std/methods/ia3"
model base = T5ForConditionalGeneration from "${folder}"`;
      const methods = {
        lora: "LoRA(rank: 8) to m.**.{SelfAttention, EncDecAttention}.{q, v}",
        kv: "IA3() to m.**.{SelfAttention, EncDecAttention}.{k, v}",
        ff: "IA3() to m.**.{SelfAttention, EncDecAttention}.{k, v}; IA3Input() to m.**.wo",
      };
      expect(await attached(header, methods)).toEqual({ lora, kv, ff });
    }
  });

  test("BERT's prefix in PANDA (methods-b A13)", async () => {
    for (const [folder, prefix] of [
      ["bert-base", 368_640],
      ["bert-large", 983_040],
    ] as const) {
      const header = `import { BertForSequenceClassification } from "std/models/bert"
import { SelfAttention } from "std/nn"
import { Prefix } from "std/methods/prefix"
model base = BertForSequenceClassification(num_labels: 2) from "${folder}"`;
      expect(await attached(header, { prefix: "Prefix(tokens: 20) to m.**: SelfAttention" })).toEqual({ prefix });
    }
  });
});

test("BERT2BERT: every row of the authors' table (methods-b A21)", async () => {
  // rows of the table itself; all others by the formula, which gives these as well
  const samples = { m128_2_2: 8_935_226, m256_12_2: 27_638_074, m512_8_8: 91_191_098, m768_8_4: 143_397_690, m768_12_12: 247_363_386 };
  const { models } = await counts(`import { EncoderDecoderModel } from "std/models/encoder_decoder"
fn bert(d: int, layers: int) = { hidden_size: d, num_hidden_layers: layers, num_attention_heads: d / 64, intermediate_size: 4 * d }
fn both(d: int, le: int, ld: int) = EncoderDecoderModel(encoder: bert(d, le), decoder: bert(d, ld))
fn size(d: int, le: int, ld: int)
  = 2 * (31_036 * d + 2 * d) + (d * d + d) + (d * d + 3 * d + 30_522) + le * (12 * d * d + 13 * d) + ld * (16 * d * d + 19 * d)
depths = [2, 4, 6, 8, 10, 12]
rows   = []
for d in [128, 256, 512, 768] {
  for le in depths { for ld in depths { if count(both(d, le, ld)) == size(d, le, ld) { rows = [...rows, d] } } }
}
require length(rows) == 144, "a row is not the formula's"
${Object.keys(samples)
  .map((name) => `model ${name} = both(${name.slice(1).replaceAll("_", ", ")})`)
  .join("\n")}`);
  expect(models).toEqual(samples);
});

test("adapters inside MEFT's layers (methods-a 1.12)", async () => {
  const rows: readonly [folder: string, model: string, from: string, size: number, layers: string, parameters: number][] = [
    ["bert-base", "BertForSequenceClassification", "bert", 8, "", 313_536],
    ["bert-base", "BertForSequenceClassification", "bert", 64, "", 2_379_264],
    ["roberta-large", "RobertaForSequenceClassification", "bert", 8, "", 835_968],
    ["roberta-large", "RobertaForSequenceClassification", "bert", 64, "", 6_343_680],
    ["opt-1.3b", "OPTForCausalLM", "opt", 64, "model.decoder.layers[8..]", 8_456_192],
    ["llama-7b", "LlamaForCausalLM", "llama", 8, "", 4_456_960],
  ];
  const lines = rows.map(([folder, model, , size, layers], i) => {
    const at = layers === "" ? `m${i}` : `m${i}.${layers}`;
    return `model m${i} = ${model} from "${folder}"
attach a${i} = Sequential(size: ${size}) to [${at}.**: AttentionSublayer, ${at}.**: FeedForwardSublayer]`;
  });
  const imports = [...new Set(rows.map(([, model, from]) => `import { ${model} } from "std/models/${from}"`))];
  const { attachments } = await counts(`${imports.join("\n")}
import { AttentionSublayer, FeedForwardSublayer } from "std/nn"
import { Sequential } from "std/methods/bottleneck"
${lines.join("\n")}`);
  expect(Object.values(attachments)).toEqual(rows.map((row) => row[5]));
});

test("DeBERTaV3-base: triplets of rank 1, 2 and 8 at its 72 matrices (methods-a 3)", async () => {
  const header = `import { DebertaV2ForSequenceClassification } from "std/models/deberta_v2"
import { Linear } from "std/nn"
import { AdaLoRA } from "std/methods/adalora"
model base = DebertaV2ForSequenceClassification(num_labels: 2) from "deberta-v3-base"`;
  const at = "to m.deberta.encoder.layer[*].**: Linear expect 72";
  const ranks = { 1: 165_960, 2: 331_920, 8: 1_327_680 };
  const methods = Object.fromEntries(Object.keys(ranks).map((r) => [r, `AdaLoRA(rank: ${r}, target: 1) ${at}`]));
  expect(await attached(header, methods)).toEqual(ranks);
});

test("XLM-R-base: a language adapter with its invertible part, and a task adapter (methods-b A17)", async () => {
  const header = `import { RobertaForMaskedLM } from "std/models/bert"
import { FeedForwardSublayer, WordSpace } from "std/nn"
import { Pfeiffer } from "std/methods/bottleneck"
import { Invertible } from "std/methods/invertible"
model base = RobertaForMaskedLM from "xlmr-base"`;
  const methods = {
    language: "Pfeiffer(size: 384) to m.**: FeedForwardSublayer; Invertible() to m",
    task: "Pfeiffer(size: 48) to m.**: FeedForwardSublayer",
  };
  expect(await attached(header, methods)).toEqual({ language: 7_387_776, task: 894_528 });
});

test("APET's budgets on T5 v1.1 (methods-b A14)", async () => {
  for (const [folder, lora, adapter, prompt] of [
    ["t5-v1_1-small", 229_376, 803_584, 51_200],
    ["t5-v1_1-base", 589_824, 1_807_488, 76_800],
    ["t5-v1_1-xxl", 6_291_456, 19_269_888, 409_600],
  ] as const) {
    const header = `import { T5ForConditionalGeneration } from "std/models/t5"
import { AttentionSublayer, FeedForwardSublayer } from "std/nn"
import { LoRA } from "std/methods/lora"
import { Sequential } from "std/methods/bottleneck"
import { Prompt } from "std/methods/prompt"
model base = T5ForConditionalGeneration from "${folder}"`;
    const methods = {
      lora: "LoRA(rank: 8) to m.**.SelfAttention.{q, v}",
      adapter: "Sequential(size: 24) to [m.**: AttentionSublayer, m.**: FeedForwardSublayer]",
      prompt: "Prompt(tokens: 100) to m.encoder",
    };
    expect(await attached(header, methods)).toEqual({ lora, adapter, prompt });
  }
});

describe("VL-PET (methods-b A1, A2)", () => {
  const granularities = ["large", "middleX", "middleY", "small"] as const;
  const spec = (model: string, from: string, folder: string, vl: string, value: string) => `import { ${model} } from "std/models/${from}"
import { AttentionSublayer, FeedForwardSublayer, Norm, LayerNorm, RMSNorm } from "std/nn"
import { VLPET, VLPETValue, Visual } from "std/methods/vl_pet"
import { seq2seq } from "std/objectives"
model base = ${model} from "${folder}"
${granularities
  .map(
    (g) => `model ${g} = base
attach eyes_${g} = ${vl.replaceAll("MODEL", g)}
attach enc_${g} = VLPET(size: SIZE, gate_size: SIZE, granularity: "${g}") to [${g}.ENCODER.**: AttentionSublayer, ${g}.ENCODER.**: FeedForwardSublayer]
attach dec_${g} = VLPETValue(size: 96) to ${value.replaceAll("MODEL", g)}
train t_${g} { objective = seq2seq(${g}) params = [eyes_${g}, enc_${g}, dec_${g}, ${g}.ENCODER.**: Norm]
  data = jsonl("rows.jsonl") sequence = 16 steps = 1 }`,
  )
  .join("\n")}`;

  test.each([
    ["pictures", 2048, { t_large: 6_052_416, t_middleX: 4_281_804, t_middleY: 4_281_792, t_small: 4_291_020 }],
    ["video", 512, { t_large: 4_872_768, t_middleX: 3_102_156, t_middleY: 3_102_144, t_small: 3_111_372 }],
  ] as const)("BART-base, %s", async (_kind, features, trained) => {
    const text = spec(
      "BartForConditionalGeneration",
      "bart",
      "bart-base",
      `Visual(table: MODEL.model.shared.weight, features: ${features}, layer_norm: LayerNorm) to MODEL.model.encoder`,
      "MODEL.model.decoder.layers[*].encoder_attn.v_proj",
    )
      .replaceAll("SIZE", "96")
      .replaceAll("ENCODER", "model.encoder");
    expect((await counts(text)).stages).toEqual(trained);
  });

  test("T5-base", async () => {
    const text = spec(
      "T5ForConditionalGeneration",
      "t5",
      "t5-base",
      "Visual(table: MODEL.shared.weight) to MODEL.encoder",
      "MODEL.decoder.block[*].layer[1].EncDecAttention.v",
    )
      .replaceAll("SIZE", "192")
      .replaceAll("ENCODER", "encoder");
    const { stages } = await counts(text);
    expect(stages).toEqual({ t_large: 17_582_208, t_middleX: 10_499_736, t_middleY: 10_499_712, t_small: 10_518_168 });
  });
});

describe("a plan without weights", () => {
  test("says what a step of a large model takes, from its configuration alone", async () => {
    at.put(
      "plan.peft",
      `${ROBERTA}model m = RobertaForSequenceClassification(num_labels: 2) from "roberta-base"
attach lora = LoRA(rank: 8) to m.**.self.{query, value}
train { objective = classification(m) params = [lora, m.classifier] data = jsonl("nowhere.jsonl") sequence = 64 batch = 2 steps = 3 }
`,
    );
    const outcome = await peftc(at, ["plan", "plan.peft", "--json", "--device", "wasm"]);
    expect(outcome.code).toBe(0);
    const [, , planned] = outcome.events() as Record<string, Record<string, number>>[];
    expect(planned.parameters).toEqual({ total: 124_942_082, trained: 887_042, frozen: 124_055_040 });
    // 4 bytes a weight, and the two moments of each trained number
    expect(planned.arenas.frozen).toBeGreaterThanOrEqual(4 * 124_055_040);
    expect(planned.optimizer_state_bytes).toBeGreaterThanOrEqual(8 * 887_042);
  });

  test("more than the device holds: the plan is shown, and refused", async () => {
    at.put("large.peft", at.get("plan.peft").replace("steps = 3", "steps = 3 memory = 100MB offload = false"));
    const outcome = await peftc(at, ["plan", "large.peft", "--json", "--device", "wasm"]);
    expect(outcome.code).toBe(1);
    const [, , planned, problem] = outcome.events() as Record<string, never>[];
    expect(planned.parameters).toMatchObject({ frozen: 124_055_040 });
    expect(problem).toMatchObject({ event: "problem", code: "P0901" });
  });

  test("other verbs want the weights, and rows without a length are asked for", async () => {
    expect((await peftc(at, ["check", "plan.peft"])).err).toContain("P0640");
    at.put("unsized.peft", at.get("plan.peft").replace("sequence = 64", ""));
    const outcome = await peftc(at, ["plan", "unsized.peft"]);
    expect(outcome.code).toBe(1);
    expect(outcome.err).toContain("P0739");
  });
});
