/** Invertible adapters: where words leave the model, what was done where they entered is undone. */
import { describe, expect, test } from "@jest/globals";
import { bools, ints, predicted, problems, project } from "./support.ts";

const bert =
  "vocab_size: 13, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 12, max_position_embeddings: 16";
const llama = "vocab_size: 13, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 1, num_attention_heads: 2";
const gpt2 = "vocab_size: 13, n_embd: 7, n_layer: 1, n_head: 1, n_positions: 8";
const distilbert = "vocab_size: 13, dim: 8, n_layers: 1, n_heads: 2, hidden_dim: 12, max_position_embeddings: 16";
const deberta = `${bert}, relative_attention: true, pos_att_type: ["p2c", "c2p"], position_buckets: 4`;
const neox = `${llama}, max_position_embeddings: 16, rotary_pct: 0.5`;
const opt = "vocab_size: 13, hidden_size: 8, ffn_dim: 12, num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 16";
const t5 = "vocab_size: 13, d_model: 8, d_kv: 4, d_ff: 12, num_layers: 1, num_heads: 2";
const bart =
  "vocab_size: 13, d_model: 8, encoder_layers: 1, decoder_layers: 1, encoder_attention_heads: 2, decoder_attention_heads: 2, encoder_ffn_dim: 12, decoder_ffn_dim: 12, max_position_embeddings: 16";
const plm =
  "vocab_size: 13, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 1, num_attention_heads: 2, kv_lora_rank: 4, qk_nope_head_dim: 4, qk_rope_head_dim: 2, v_head_dim: 4";

/** Models that score words, and heads over the same trunks that do not. */
const models: Readonly<
  Record<string, { readonly from: string; readonly config: string; readonly words: string[]; readonly heads: string[] }>
> = {
  bert: { from: "bert", config: bert, words: ["BertForMaskedLM"], heads: ["BertForSequenceClassification", "BertForTokenClassification"] },
  roberta: {
    from: "bert",
    config: bert,
    words: ["RobertaForMaskedLM"],
    heads: ["RobertaForSequenceClassification", "RobertaForQuestionAnswering"],
  },
  gpt2: { from: "gpt2", config: gpt2, words: ["GPT2LMHeadModel"], heads: ["GPT2ForSequenceClassification", "GPT2ForTokenClassification"] },
  llama: {
    from: "llama",
    config: llama,
    words: ["LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "MistralForCausalLM"],
    heads: [
      ...["LlamaForSequenceClassification", "LlamaForTokenClassification", "LlamaForQuestionAnswering", "Qwen2ForSequenceClassification"],
      ...[
        "Qwen2ForTokenClassification",
        "Qwen3ForSequenceClassification",
        "Qwen3ForTokenClassification",
        "MistralForSequenceClassification",
      ],
      "MistralForTokenClassification",
    ],
  },
  plm: { from: "plm", config: plm, words: ["PLMForCausalLM", "DeepseekV2ForCausalLM"], heads: [] },
  distilbert: {
    from: "distilbert",
    config: distilbert,
    words: ["DistilBertForMaskedLM"],
    heads: ["DistilBertForSequenceClassification", "DistilBertForTokenClassification", "DistilBertForQuestionAnswering"],
  },
  deberta: {
    from: "deberta_v2",
    config: deberta,
    words: ["DebertaV2ForMaskedLM"],
    heads: ["DebertaV2ForSequenceClassification", "DebertaV2ForTokenClassification", "DebertaV2ForQuestionAnswering"],
  },
  "deberta, the authors' head": { from: "deberta_v2", config: `${deberta}, legacy: false`, words: ["DebertaV2ForMaskedLM"], heads: [] },
  gpt_neox: {
    from: "gpt_neox",
    config: neox,
    words: ["GPTNeoXForCausalLM"],
    heads: ["GPTNeoXForSequenceClassification", "GPTNeoXForTokenClassification"],
  },
  opt: { from: "opt", config: opt, words: ["OPTForCausalLM"], heads: ["OPTForSequenceClassification"] },
  "opt, narrow words": { from: "opt", config: `${opt}, word_embed_proj_dim: 6`, words: ["OPTForCausalLM"], heads: [] },
  t5: { from: "t5", config: t5, words: ["T5ForConditionalGeneration"], heads: [] },
  "t5, a table of its own": { from: "t5", config: `${t5}, tie_word_embeddings: false`, words: ["T5ForConditionalGeneration"], heads: [] },
  bart: {
    from: "bart",
    config: bart,
    words: ["BartForConditionalGeneration"],
    heads: ["BartForSequenceClassification", "BartForQuestionAnswering"],
  },
};
const value = (path: string, i: number) => 0.5 * Math.cos(path.length * 3 + 2 * i);
const inputs = {
  input_ids: ints([1, 4], [1, 5, 2, 12]),
  attention_mask: bools([1, 4], [1, 1, 1, 1]),
  token_type_ids: ints([1, 4], [0, 0, 1, 1]),
  decoder_input_ids: ints([1, 3], [1, 7, 3]),
};
const sizes = { B: 1, S: 4, T: 3 };

const far = (a: readonly number[], b: readonly number[]) => Math.max(...a.map((x, i) => Math.abs(x - b[i])));

describe.each(Object.entries(models))("%s", (_name, { from, config, words, heads }) => {
  /** `attached` a model at a time, all in one program; columns of each. */
  const outputs = (module: string, column: string, attached: readonly string[]): number[][] =>
    attached.map((lines) => {
      const p = project(`import { ${module} } from "std/models/${from}"
import { WordSpace } from "std/nn"
import { Invertible, InvertibleGlow } from "std/methods/invertible"
method Straight() on WordSpace { leaving := 0 * leaving + entered[:, :1] }
model m = ${module}(${config})
${lines}
predict look { model = m data = jsonl("x") columns = ["${column}"] }`);
      expect(problems(p)).toEqual([]);
      return [...predicted(p, inputs, sizes, value)[column].data].map(Number);
    });

  test.each(words)("%s: words that go straight from where they enter to where they leave come out as they were", (module) => {
    const straight = "attach s = Straight() to m";
    const ways = ["Invertible()", "InvertibleGlow()", "Invertible(inverse: false)", "InvertibleGlow(inverse: false)"];
    const [plain, ...seen] = outputs(module, "logits", [straight, ...ways.map((way) => `${straight} attach i = ${way} to m`)]);
    for (const undone of seen.slice(0, 2)) expect(far(undone, plain)).toBeLessThan(1e-9);
    for (const kept of seen.slice(2)) expect(far(kept, plain)).toBeGreaterThan(1e-3);
  });

  if (heads.length > 0)
    test.each(heads)("%s: words are changed on their way in", (module) => {
      const column = module.endsWith("QuestionAnswering") ? "start_logits" : "logits";
      const [plain, changed] = outputs(module, column, ["", "attach i = Invertible() to m"]);
      expect(far(changed, plain)).toBeGreaterThan(1e-6);
    });
});
