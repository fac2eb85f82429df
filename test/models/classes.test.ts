/** Every class of the library: its parameters are those that transformers lists, and it computes something of its inputs. */
import { describe, expect, test } from "@jest/globals";
import { bools, floats, type Inputs, ints, parameters, predicted, problems, project } from "./support.ts";

const llama = {
  vocab_size: 13,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  num_labels: 3,
};
const neox = {
  vocab_size: 13,
  hidden_size: 16,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_labels: 3,
  max_position_embeddings: 20,
};
const gpt2 = { vocab_size: 13, n_positions: 20, n_embd: 8, n_layer: 1, n_head: 2, num_labels: 3 };
const opt = {
  vocab_size: 13,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  ffn_dim: 12,
  max_position_embeddings: 20,
  num_labels: 3,
};
const bert = {
  vocab_size: 13,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  intermediate_size: 12,
  max_position_embeddings: 20,
  type_vocab_size: 1,
  pad_token_id: 1,
  num_labels: 3,
};
const distil = { vocab_size: 13, max_position_embeddings: 20, n_layers: 1, n_heads: 2, dim: 8, hidden_dim: 12, num_labels: 3 };
const bart = {
  vocab_size: 13,
  d_model: 8,
  encoder_layers: 1,
  decoder_layers: 1,
  encoder_attention_heads: 2,
  decoder_attention_heads: 2,
  encoder_ffn_dim: 12,
  decoder_ffn_dim: 12,
  max_position_embeddings: 20,
  num_labels: 3,
};
const t5 = { vocab_size: 13, d_model: 8, d_kv: 4, d_ff: 12, num_layers: 1, num_heads: 2, num_labels: 3 };
const vit = {
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  intermediate_size: 12,
  image_size: 4,
  patch_size: 2,
  num_channels: 1,
  num_labels: 3,
};
const deberta = {
  vocab_size: 13,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  intermediate_size: 12,
  max_position_embeddings: 20,
  relative_attention: true,
  pos_att_type: "p2c|c2p",
  position_buckets: 4,
  share_att_key: true,
  norm_rel_ebd: "layer_norm",
  position_biased_input: false,
  num_labels: 3,
};

type ClassCase = readonly [string, string, Record<string, unknown>, readonly string[], Readonly<Record<string, readonly number[]>>];
const small = { ...llama, pad_token_id: 0 };
const moe = { ...small, num_experts: 3, num_experts_per_tok: 2, moe_intermediate_size: 6, mlp_only_layers: [] };
const modern = { ...small, num_key_value_heads: undefined };
const logits = ["logits"];
const spans = ["start_logits", "end_logits"];
const gate = "model.layers.0.mlp.gate_proj.weight";
const decoders: readonly ClassCase[] = [
  [
    "Gemma2ForSequenceClassification",
    "gemma2",
    { ...small, head_dim: 6 },
    logits,
    { "score.weight": [3, 8], "model.layers.0.self_attn.k_proj.weight": [12, 8], [gate]: [12, 8] },
  ],
  [
    "Gemma2ForTokenClassification",
    "gemma2",
    { ...small, head_dim: 6 },
    logits,
    { "score.bias": [3], "model.layers.0.post_feedforward_layernorm.weight": [8] },
  ],
  [
    "Gemma3TextForSequenceClassification",
    "gemma3",
    { ...small, head_dim: 6 },
    logits,
    { "score.weight": [3, 8], "model.layers.0.self_attn.k_norm.weight": [6] },
  ],
  ["Phi3ForSequenceClassification", "phi3", small, logits, { "score.weight": [3, 8], "model.layers.0.self_attn.qkv_proj.weight": [16, 8] }],
  ["Phi3ForTokenClassification", "phi3", small, logits, { "score.bias": [3], "model.layers.0.mlp.gate_up_proj.weight": [24, 8] }],
  [
    "PhiForSequenceClassification",
    "phi",
    { ...small, partial_rotary_factor: 1 },
    logits,
    { "score.weight": [3, 8], "model.layers.0.self_attn.dense.bias": [8] },
  ],
  [
    "PhiForTokenClassification",
    "phi",
    { ...small, partial_rotary_factor: 1 },
    logits,
    { "score.bias": [3], "model.layers.0.mlp.fc1.bias": [12] },
  ],
  [
    "StableLmForSequenceClassification",
    "stablelm",
    { ...small, partial_rotary_factor: 1 },
    logits,
    { "score.weight": [3, 8], "model.norm.bias": [8] },
  ],
  ["StableLmForTokenClassification", "stablelm", { ...small, partial_rotary_factor: 1 }, logits, { "score.bias": [3], [gate]: [12, 8] }],
  ["SmolLM3ForSequenceClassification", "smollm3", small, logits, { "score.weight": [3, 8], [gate]: [12, 8] }],
  ["SmolLM3ForTokenClassification", "smollm3", small, logits, { "score.bias": [3], "model.layers.0.self_attn.k_proj.weight": [4, 8] }],
  ["SmolLM3ForQuestionAnswering", "smollm3", small, spans, { "qa_outputs.bias": [2], "transformer.norm.weight": [8] }],
  [
    "MixtralForSequenceClassification",
    "mixtral",
    { ...small, num_local_experts: 3 },
    logits,
    { "model.layers.0.block_sparse_moe.experts.2.w2.weight": [8, 12] },
  ],
  [
    "MixtralForTokenClassification",
    "mixtral",
    { ...small, num_local_experts: 3 },
    logits,
    { "score.bias": [3], "model.layers.0.block_sparse_moe.gate.weight": [3, 8] },
  ],
  [
    "Qwen3MoeForSequenceClassification",
    "qwen3_moe",
    moe,
    logits,
    { "score.weight": [3, 8], "model.layers.0.mlp.experts.2.down_proj.weight": [8, 6] },
  ],
  ["Qwen3MoeForTokenClassification", "qwen3_moe", moe, logits, { "score.bias": [3], "model.layers.0.mlp.gate.weight": [3, 8] }],
  ["Qwen3MoeForQuestionAnswering", "qwen3_moe", moe, spans, { "qa_outputs.bias": [2], "transformer.layers.0.mlp.gate.weight": [3, 8] }],
  ...(["SequenceClassification", "TokenClassification"] as const).map(
    (task): ClassCase => [
      `DeepseekV3For${task}`,
      "deepseek_v3",
      {
        ...{
          ...small,
          moe_intermediate_size: 6,
          n_routed_experts: 4,
          n_group: 2,
          topk_group: 1,
          num_experts_per_tok: 2,
          first_k_dense_replace: 0,
        },
        ...{ kv_lora_rank: 5, q_lora_rank: null, qk_rope_head_dim: 4, qk_nope_head_dim: 4, v_head_dim: 3 },
      },
      logits,
      {
        "score.weight": [3, 8],
        "model.layers.0.mlp.gate.e_score_correction_bias": [4],
        "model.layers.0.mlp.shared_experts.up_proj.weight": [6, 8],
      },
    ],
  ),
  [
    "ModernBertForQuestionAnswering",
    "modernbert",
    modern,
    spans,
    { "classifier.bias": [2], "model.layers.0.attn.Wqkv.weight": [24, 8], "head.dense.weight": [8, 8] },
  ],
  [
    "ModernBertForTokenClassification",
    "modernbert",
    modern,
    logits,
    { "classifier.bias": [3], "model.layers.0.mlp.Wi.weight": [24, 8], "head.norm.weight": [8] },
  ],
];

/** Class, file, configuration, outputs, parameters that only this class has or that are easily got wrong. */
const classes: readonly ClassCase[] = [
  [
    "LlamaForSequenceClassification",
    "llama",
    llama,
    ["logits"],
    { "score.weight": [3, 8], "model.layers.0.self_attn.k_proj.weight": [4, 8] },
  ],
  ["LlamaForTokenClassification", "llama", llama, ["logits"], { "score.weight": [3, 8], "score.bias": [3] }],
  ["LlamaForQuestionAnswering", "llama", llama, ["start_logits", "end_logits"], { "qa_outputs.bias": [2], "transformer.norm.weight": [8] }],
  ["Qwen2ForSequenceClassification", "llama", llama, ["logits"], { "model.layers.0.self_attn.q_proj.bias": [8], "score.weight": [3, 8] }],
  [
    "Qwen3ForSequenceClassification",
    "llama",
    { ...llama, head_dim: 6 },
    ["logits"],
    { "model.layers.0.self_attn.q_norm.weight": [6], "model.layers.0.self_attn.q_proj.weight": [24, 8] },
  ],
  ...decoders,
  ["MistralForTokenClassification", "llama", { ...llama, sliding_window: 2 }, ["logits"], { "score.bias": [3] }],
  [
    "GPTNeoXForSequenceClassification",
    "gpt_neox",
    neox,
    ["logits"],
    { "score.weight": [3, 16], "gpt_neox.layers.0.attention.query_key_value.bias": [48] },
  ],
  ["GPTNeoXForTokenClassification", "gpt_neox", neox, ["logits"], { "classifier.bias": [3] }],
  ["GPT2ForTokenClassification", "gpt2", gpt2, ["logits"], { "classifier.weight": [3, 8], "transformer.h.0.attn.c_attn.weight": [8, 24] }],
  [
    "OPTForSequenceClassification",
    "opt",
    opt,
    ["logits"],
    { "score.weight": [3, 8], "model.decoder.final_layer_norm.bias": [8], "model.decoder.embed_positions.weight": [22, 8] },
  ],
  [
    "OPTForCausalLM",
    "opt",
    { ...opt, word_embed_proj_dim: 6, do_layer_norm_before: false },
    ["logits"],
    { "model.decoder.project_in.weight": [8, 6], "model.decoder.project_out.weight": [6, 8], "model.decoder.embed_tokens.weight": [13, 6] },
  ],
  [
    "OPTForQuestionAnswering",
    "opt",
    { ...opt, word_embed_proj_dim: 6, layer_norm_elementwise_affine: false },
    ["start_logits", "end_logits"],
    { "qa_outputs.weight": [2, 6] },
  ],
  ["GPT2ForQuestionAnswering", "gpt2", gpt2, ["start_logits", "end_logits"], { "qa_outputs.weight": [2, 8] }],
  ["GPTNeoXForQuestionAnswering", "gpt_neox", neox, ["start_logits", "end_logits"], { "qa_outputs.bias": [2] }],
  [
    "Qwen2ForQuestionAnswering",
    "llama",
    llama,
    ["start_logits", "end_logits"],
    { "transformer.layers.0.self_attn.k_proj.bias": [4], "qa_outputs.bias": [2] },
  ],
  ["Qwen3ForQuestionAnswering", "llama", llama, ["start_logits", "end_logits"], { "transformer.layers.0.self_attn.k_norm.weight": [2] }],
  ["MistralForQuestionAnswering", "llama", llama, ["start_logits", "end_logits"], { "model.norm.weight": [8] }],
  [
    "T5ForSequenceClassification",
    "t5",
    t5,
    ["logits"],
    {
      "classification_head.out_proj.weight": [3, 8],
      "transformer.shared.weight": [13, 8],
      "transformer.decoder.final_layer_norm.weight": [8],
    },
  ],
  [
    "T5ForTokenClassification",
    "t5",
    { ...t5, feed_forward_proj: "gelu" },
    ["logits"],
    { "classifier.bias": [3], "transformer.encoder.block.0.layer.1.DenseReluDense.wi.weight": [12, 8] },
  ],
  [
    "T5ForQuestionAnswering",
    "t5",
    { ...t5, feed_forward_proj: "gated-silu", num_decoder_layers: 2 },
    ["start_logits", "end_logits"],
    {
      "qa_outputs.weight": [2, 8],
      "encoder.block.0.layer.1.DenseReluDense.wi_1.weight": [12, 8],
      "decoder.block.1.layer.2.DenseReluDense.wo.weight": [8, 12],
    },
  ],
  ["BertForMaskedLM", "bert", { ...bert, tie_word_embeddings: false }, ["logits"], { "cls.predictions.decoder.weight": [13, 8] }],
  ["RobertaForMaskedLM", "bert", { ...bert, tie_word_embeddings: false }, ["logits"], { "lm_head.decoder.weight": [13, 8] }],
  [
    "DeepseekV2ForSequenceClassification",
    "plm",
    {
      ...llama,
      ...{ q_lora_rank: null, kv_lora_rank: 5, qk_nope_head_dim: 4, qk_rope_head_dim: 2, v_head_dim: 3, hidden_act: "silu" },
      ...{ attention_bias: true, mlp_bias: true },
    },
    ["logits"],
    { "score.weight": [3, 8], "model.layers.0.self_attn.o_proj.bias": [8], "model.layers.0.mlp.down_proj.bias": [8] },
  ],
  ["RobertaForQuestionAnswering", "bert", bert, ["start_logits", "end_logits"], { "qa_outputs.weight": [2, 8] }],
  [
    "XLMRobertaForSequenceClassification",
    "bert",
    bert,
    ["logits"],
    { "classifier.out_proj.weight": [3, 8], "roberta.embeddings.token_type_embeddings.weight": [1, 8] },
  ],
  [
    "DistilBertForMaskedLM",
    "distilbert",
    distil,
    ["logits"],
    { "vocab_transform.weight": [8, 8], "vocab_layer_norm.bias": [8], "vocab_projector.bias": [13] },
  ],
  ["DistilBertForTokenClassification", "distilbert", distil, ["logits"], { "classifier.weight": [3, 8] }],
  ["DistilBertForQuestionAnswering", "distilbert", distil, ["start_logits", "end_logits"], { "qa_outputs.bias": [2] }],
  [
    "BartForSequenceClassification",
    "bart",
    bart,
    ["logits"],
    { "classification_head.dense.weight": [8, 8], "classification_head.out_proj.bias": [3], "model.shared.weight": [13, 8] },
  ],
  ["BartForQuestionAnswering", "bart", bart, ["start_logits", "end_logits"], { "qa_outputs.weight": [2, 8] }],
  ["DebertaV2ForTokenClassification", "deberta_v2", deberta, ["logits"], { "classifier.weight": [3, 8] }],
  ["DebertaV2ForQuestionAnswering", "deberta_v2", deberta, ["start_logits", "end_logits"], { "qa_outputs.weight": [2, 8] }],
  ["DebertaV2ForMaskedLM", "deberta_v2", deberta, ["logits"], { "cls.predictions.transform.dense.weight": [8, 8] }],
  [
    "ViTForImageClassification",
    "vit",
    { ...vit, image_size: [4, 4], patch_size: [2, 4], num_labels: 1 },
    ["logits"],
    { "vit.embeddings.position_embeddings": [1, 3, 8], "vit.embeddings.patch_embeddings.projection.weight": [8, 1, 2, 4] },
  ],
  [
    "DeiTForImageClassification",
    "vit",
    vit,
    ["logits"],
    { "deit.embeddings.distillation_token": [1, 1, 8], "deit.embeddings.position_embeddings": [1, 6, 8] },
  ],
  [
    "DeiTForImageClassificationWithTeacher",
    "vit",
    vit,
    ["logits"],
    { "cls_classifier.weight": [3, 8], "distillation_classifier.bias": [3] },
  ],
];

const made = (name: string, file: string, config: Record<string, unknown>, outputs: readonly string[]) =>
  project(
    `import { ${name} } from "std/models/${file}"
model m = ${name} from "c"
predict look { model = m data = jsonl("x") columns = [${outputs.map((o) => `"${o}"`).join(", ")}] }`,
    { c: config as never },
  );

const text = (ids: readonly (readonly number[])[], real: readonly (readonly number[])[]): Inputs => ({
  input_ids: ints([ids.length, ids[0].length], ids.flat()),
  token_type_ids: ints(
    [ids.length, ids[0].length],
    ids.flat().map(() => 0),
  ),
  attention_mask: bools([ids.length, ids[0].length], real.flat()),
});
const pixels: Inputs = {
  pixel_values: floats(
    [2, 1, 4, 4],
    Array.from({ length: 32 }, (_, i) => Math.sin(3 * i)),
  ),
};

describe("classes", () => {
  test.each(classes)("%s", (name, file, config, outputs, wanted) => {
    const p = made(name, file, config, outputs);
    expect(problems(p).filter((x) => !x.startsWith("P06"))).toEqual([]);
    expect(parameters(p)).toMatchObject(wanted);
    const sizes = { B: 2, S: 4 };
    const inputs =
      file === "vit"
        ? pixels
        : text(
            [
              [5, 6, 7, 2],
              [8, 9, 2, 1],
            ],
            [
              [1, 1, 1, 1],
              [1, 1, 1, 0],
            ],
          );
    const seen = predicted(p, inputs, sizes);
    for (const output of outputs) {
      const { data } = seen[output];
      expect([...data].every(Number.isFinite)).toBe(true);
      expect(new Set([...data].map((x) => x.toFixed(9))).size).toBeGreaterThan(data.length / 2);
    }
  });
});

test("an encoder and a decoder of BERT: what a configuration has inside, what is read and what is still to come", () => {
  const config = {
    encoder: { ...bert, hidden_size: 6, new_field: 1 },
    decoder: bert,
    decoder_start_token_id: 2,
    tie_encoder_decoder: false,
  };
  const p = made("EncoderDecoderModel", "encoder_decoder", config, ["logits"]);
  expect(problems(p)).toEqual([]);
  // what a record does not have is listed with its place, also inside another record
  expect(p.models[0].unknownFields).toEqual(["encoder.new_field", "tie_encoder_decoder"]);
  expect(parameters(p)).toMatchObject({
    "enc_to_dec_proj.weight": [8, 6],
    "encoder.pooler.dense.weight": [6, 6],
    "decoder.bert.encoder.layer.0.crossattention.self.key.weight": [8, 8],
    "decoder.cls.predictions.bias": [13],
  });
  const run = (read: number[], written: number[]) => {
    const inputs = { ...text([read], [[1, 1, 1]]), decoder_input_ids: ints([1, 3], written) };
    const { data } = predicted(p, inputs, { B: 1, S: 3, T: 3 }).logits;
    return [0, 1, 2].map((i) => [...data.slice(13 * i, 13 * (i + 1))]);
  };
  const [first, second, third] = run([5, 6, 7], [2, 8, 9]);
  const later = run([5, 6, 7], [2, 8, 3]);
  expect([later[0], later[1]]).toEqual([first, second]);
  expect(later[2]).not.toEqual(third);
  expect(run([5, 4, 7], [2, 8, 9])[0]).not.toEqual(first);
});

test("depth costs no stack", () => {
  const p = project(`import { RobertaForMaskedLM } from "std/models/bert"
import { FeedForwardSublayer } from "std/nn"
import { Pfeiffer } from "std/methods/bottleneck"
model m = RobertaForMaskedLM(vocab_size: 13, hidden_size: 4, num_attention_heads: 1, intermediate_size: 4, num_hidden_layers: 100)
attach a = Pfeiffer(size: 2) to m.**: FeedForwardSublayer
predict look { model = m data = jsonl("x") columns = ["logits"] }`);
  expect(problems(p)).toEqual([]);
});

describe("padding", () => {
  test.each([
    ["LlamaForSequenceClassification", "llama", llama],
    ["OPTForSequenceClassification", "opt", opt],
    ["GPTNeoXForSequenceClassification", "gpt_neox", neox],
  ])("%s looks at the last word on either side of padding", (name, file, config) => {
    const p = made(name, file, config, ["logits"]);
    const run = (ids: number[], real: number[]) => [...predicted(p, text([ids], [real]), { B: 1, S: ids.length }).logits.data];
    const plain = run([5, 6, 7], [1, 1, 1]);
    const right = run([5, 6, 7, 1, 1], [1, 1, 1, 0, 0]);
    const left = run([1, 1, 5, 6, 7], [0, 0, 1, 1, 1]);
    right.forEach((x, i) => {
      expect(x).toBeCloseTo(plain[i], 10);
    });
    // rotations are of distances, OPT counts from the mask: both are the same wherever the text stands
    left.forEach((x, i) => {
      expect(x).toBeCloseTo(plain[i], 10);
    });
  });
});
