/** Generation with caches writes what a model writes that is run on the whole text for every token; beams find what a search of all texts finds. */
import { describe, expect, test } from "@jest/globals";
import type { GenerateStage, Project } from "../../src/compiler/project.ts";
import { openEngine } from "../../src/node/engine.ts";
import type { Engine } from "../../src/train/engine/engine.ts";
import { beamSearch, type Decoder } from "../../src/train/stages/beams.ts";
import { openGenerator, type PromptTokenizer } from "../../src/train/stages/generate.ts";
import { chooseToken, samplingKey } from "../../src/train/stages/sample.ts";
import { bools, ints, predicted, problems, project, someValue } from "../models/support.ts";
import { tinyFiles, tinyHost } from "./support/tiny.ts";

const VOCAB = 13;
const EOS = 1;

interface Kind {
  readonly name: string;
  readonly model: string;
  readonly file: string;
  readonly adapt?: string;
  /** What an encoder–decoder begins with. */
  readonly begin?: readonly number[];
  /** One run shows what is its own: it shares the rest with others here. */
  readonly brief?: true;
}
const t5 =
  "vocab_size: 13, d_model: 8, d_kv: 4, d_ff: 12, num_layers: 1, num_heads: 2, relative_attention_num_buckets: 6, relative_attention_max_distance: 9";
const bart =
  "vocab_size: 13, d_model: 8, encoder_layers: 1, decoder_layers: 1, encoder_attention_heads: 2, decoder_attention_heads: 2, encoder_ffn_dim: 12, decoder_ffn_dim: 12, max_position_embeddings: 40";
const bert =
  "{ vocab_size: 13, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 12, max_position_embeddings: 60, pad_token_id: 0 }";
const kinds: readonly Kind[] = [
  { name: "T5", file: "t5", model: `T5ForConditionalGeneration(${t5})`, begin: [0] },
  {
    name: "T5 with gates, its own head",
    file: "t5",
    model: `T5ForConditionalGeneration(${t5}, feed_forward_proj: "gated-gelu", tie_word_embeddings: false)`,
    begin: [0],
  },
  { name: "BART", file: "bart", model: `BartForConditionalGeneration(${bart}, forced_bos_token_id: 3)`, begin: [2, 3] },
  {
    name: "T5 with a prompt, low ranks and scaled keys",
    file: "t5",
    model: `T5ForConditionalGeneration(${t5})`,
    begin: [0],
    adapt: `attach p = Prompt(tokens: 3, cut: false) to m.encoder
attach l = LoRA(rank: 2) to m.**.{k, v}
attach i = Scaled() to m.**: CrossAttention`,
  },
  {
    name: "BART with keys in front",
    file: "bart",
    model: `BartForConditionalGeneration(${bart})`,
    begin: [2],
    adapt: "attach f = Prefix(tokens: 2) to m.**: Attention",
  },
  {
    name: "BERT2BERT",
    file: "encoder_decoder",
    model: `EncoderDecoderModel(encoder: ${bert.replace("hidden_size: 8", "hidden_size: 6")}, decoder: ${bert}, decoder_start_token_id: 2)`,
    begin: [2],
  },
  { name: "GPT-2", file: "gpt2", model: "GPT2LMHeadModel(vocab_size: 13, n_positions: 60, n_embd: 8, n_layer: 1, n_head: 2)" },
  {
    name: "LLaMA",
    file: "llama",
    model:
      "LlamaForCausalLM(vocab_size: 13, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 1, num_attention_heads: 4, num_key_value_heads: 2)",
  },
  {
    name: "Qwen2 with a window in its second layer, positions stretched",
    file: "llama",
    model:
      'Qwen2ForCausalLM(vocab_size: 13, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 2, num_attention_heads: 2, use_sliding_window: true, sliding_window: 2, max_window_layers: 1, rope_scaling: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 4 })',
  },
  {
    name: "OPT with a prompt",
    file: "opt",
    model:
      "OPTForCausalLM(vocab_size: 13, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, ffn_dim: 12, max_position_embeddings: 60)",
    adapt: "attach p = Prompt(tokens: 3) to m.**: TextModel",
  },
];

const decoder =
  "vocab_size: 13, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, pad_token_id: 0";
const mixed = "n_routed_experts: 4, n_group: 2, topk_group: 1, num_experts_per_tok: 2, moe_intermediate_size: 6, first_k_dense_replace: 1";
const latent = "kv_lora_rank: 5, q_lora_rank: 6, qk_rope_head_dim: 4, qk_nope_head_dim: 4, v_head_dim: 3";
const briefly: readonly Omit<Kind, "brief">[] = [
  {
    name: "Phi-3, stretched while it writes",
    file: "phi3",
    model: `Phi3ForCausalLM(${decoder}, sliding_window: 3, original_max_position_embeddings: 60, rope_scaling: { rope_type: "longrope", short_factor: [1.5, 2], long_factor: [3, 4] })`,
  },
  {
    name: "Gemma 2",
    file: "gemma2",
    model: `Gemma2ForCausalLM(${decoder}, head_dim: 4, sliding_window: 2, query_pre_attn_scalar: 3, attn_logit_softcapping: 2, final_logit_softcapping: 3)`,
  },
  {
    name: "Gemma 3",
    file: "gemma3",
    model: `Gemma3ForCausalLM(${decoder}, head_dim: 4, sliding_window: 2, sliding_window_pattern: 2, query_pre_attn_scalar: 3, rope_theta: 100, rope_local_base_freq: 20)`,
  },
  { name: "SmolLM3", file: "smollm3", model: `SmolLM3ForCausalLM(${decoder}, no_rope_layers: [1, 0])` },
  { name: "Phi", file: "phi", model: `PhiForCausalLM(${decoder}, qk_layernorm: true)` },
  { name: "StableLM", file: "stablelm", model: `StableLmForCausalLM(${decoder}, partial_rotary_factor: 0.5, qk_layernorm: true)` },
  { name: "LLaMA, a half of each head turned", file: "llama", model: `LlamaForCausalLM(${decoder}, partial_rotary_factor: 0.5)` },
  {
    name: "Mixtral, low ranks on its experts",
    file: "mixtral",
    model: `MixtralForCausalLM(${decoder}, num_local_experts: 3, num_experts_per_tok: 2)`,
    adapt: "attach l = LoRA(rank: 2) to m.**.{w1, w2}",
  },
  {
    name: "Qwen3's experts",
    file: "qwen3_moe",
    model: `Qwen3MoeForCausalLM(${decoder}, num_experts: 3, num_experts_per_tok: 1, moe_intermediate_size: 6)`,
  },
  {
    name: "DeepSeek-V3",
    file: "deepseek_v3",
    model: `DeepseekV3ForCausalLM(${decoder.replace(" num_key_value_heads: 1,", "")}, ${mixed}, ${latent})`,
  },
];

const tokenizer: PromptTokenizer = {
  ids: { eos: EOS },
  encode: (text) => text.split(" ").map(Number),
  decode: (ids) => ids.join(" "),
};
/** Bold enough for the choice of words to differ. */
const values = (path: string, i: number) => (/norm|LayerNorm|ln_/i.test(path) && !path.endsWith("bias") ? 1 : 0) + 2.5 * someValue(path, i);

function programOf(kind: Kind, fields: string): Project {
  const name = kind.model.slice(0, kind.model.indexOf("("));
  const p = project(`
import { ${name} } from "std/models/${kind.file}"
import { Attention, CrossAttention, TextModel } from "std/nn"
import { Prompt } from "std/methods/prompt"
import { Prefix } from "std/methods/prefix"
import { LoRA } from "std/methods/lora"
method Scaled() on CrossAttention { param l: f32[kv_heads, 1, head_dim] = 1  key := key * l }
model m = ${kind.model}
${kind.adapt ?? ""}
predict whole { model = m data = jsonl("x") columns = ["logits"] }
generate { model = m prompts = ["4 5"] ${fields} }`);
  expect(problems(p)).toEqual([]);
  return p;
}

const stageOf = (p: Project) =>
  p.actions.flatMap((a): GenerateStage[] => (a.kind === "stage" && a.stage.verb === "generate" ? [a.stage] : [])).at(-1)!;

async function generated(p: Project, prompts: readonly string[], samples = 1, engine?: Engine): Promise<(readonly number[])[]> {
  const host = tinyHost(p, tinyFiles(), engine && { engine });
  for (const { name, path, shape } of p.params.values()) {
    const n = shape.reduce((a, b) => a * b, 1);
    host.values.setParam(
      name,
      Float32Array.from({ length: n }, (_, i) => values(path, i)),
    );
  }
  const stage = stageOf(p);
  const given = prompts.map((text) => ({ text }));
  const generator = await openGenerator(stage, host, tokenizer, given);
  const out: (readonly number[])[] = [];
  for (const [i, prompt] of given.entries())
    for (let sample = 0; sample < samples; sample++) out.push((await generator.generate(prompt, i, sample)).tokens);
  await generator.close();
  return out;
}

/** Scores of the next token by a run on all of the text. */
function scoresAfter(p: Project, kind: Kind, prompt: readonly number[], written: readonly number[]): Float32Array {
  const own = [...(kind.begin ?? prompt), ...written];
  const read = kind.begin ? prompt : own;
  const { logits } = predicted(
    p,
    {
      input_ids: ints([1, read.length], read),
      attention_mask: bools(
        [1, read.length],
        read.map(() => 1),
      ),
      ...(kind.begin && { decoder_input_ids: ints([1, own.length], own) }),
    },
    { B: 1, S: read.length, T: own.length },
    (path, i) => Math.fround(values(path, i)),
  );
  return Float32Array.from(logits.data.slice(-VOCAB));
}

const prompts = ["4 5 6", "9 3 8"];

describe.each<Kind>([...kinds, ...briefly.map((kind): Kind => ({ ...kind, brief: true }))])("$name", (kind) => {
  // a draw hangs on all scores, so that it shows more than the choice of the best
  test.each(["temperature = 1.2 seed = 3", ...(kind.begin || kind.brief ? [] : ["temperature = 0"])])("%s", async (fields) => {
    const p = programOf(kind, `max_tokens = 5 ${fields}`);
    const sampling = { temperature: fields.endsWith("0") ? 0 : 1.2, topP: 1, seed: 3 };
    const wanted = prompts.map((text, number) => {
      const out: number[] = [];
      while (out.length < 5) {
        const scores = scoresAfter(p, kind, tokenizer.encode(text), out);
        const token = chooseToken(scores, sampling, samplingKey(3, number, 0), out.length);
        if (token === EOS) break;
        out.push(token);
      }
      return out;
    });
    expect(await generated(p, prompts)).toEqual(wanted);
    if (sampling.temperature > 0) expect(new Set(wanted.flat()).size).toBeGreaterThan(1);
  });
  if (kind.brief) return;
  test("by three beams", async () => {
    const p = programOf(kind, "max_tokens = 4 beams = 3 samples = 2");
    const wanted: (readonly number[])[] = [];
    for (const text of prompts) {
      let rows: number[][] = [[], [], []];
      const all = () => Float32Array.from(rows.flatMap((row) => [...scoresAfter(p, kind, tokenizer.encode(text), row)]));
      const decoder: Decoder = {
        begin: async () => all(),
        next: async (tokens, parents) => {
          rows = parents.map((parent, i) => [...rows[parent], tokens[i]]);
          return all();
        },
      };
      const given = (kind.begin?.length ?? 1) - 1;
      const ends = (tokens: readonly number[]) => (tokens.at(-1) === EOS ? ("token" as const) : undefined);
      const best = await beamSearch(decoder, { beams: 3, maxTokens: 4, lengthPenalty: 1, given, ends });
      wanted.push(...best.slice(0, 2).map(({ tokens }) => tokens));
    }
    expect(await generated(p, prompts, 2)).toEqual(wanted);
  });
});

test("the kernels of WebAssembly write the same", async () => {
  const engine = await openEngine("wasm");
  for (const kind of kinds.filter(({ name }) => /T5 with a prompt|BART$/.test(name)))
    for (const fields of ["max_tokens = 4 temperature = 1.2 seed = 3", "max_tokens = 4 beams = 3"]) {
      const p = programOf(kind, fields);
      expect(await generated(p, prompts, 1, engine)).toEqual(await generated(p, prompts));
    }
});

describe("beam search", () => {
  /** Log-probabilities by what was written before; the number of words is small. */
  const scores = (words: number, salt: number) => (text: readonly number[]) =>
    Array.from({ length: words }, (_, w) => 3 * someValue(`${salt}/${text.join()}`, w));
  const logProbability = (row: readonly number[], word: number) => row[word] - Math.log(row.reduce((s, x) => s + Math.exp(x), 0));
  const decoderOf = (score: (text: readonly number[]) => number[], beams: number): Decoder => {
    let rows: number[][] = Array.from({ length: beams }, () => []);
    const all = () => Float32Array.from(rows.flatMap(score));
    return {
      begin: async () => all(),
      next: async (tokens, parents) => {
        rows = parents.map((parent, i) => [...rows[parent], tokens[i]]);
        return all();
      },
    };
  };
  test.each([0, 0.5, 1, 2])("as many beams as there are texts find the best of all, penalty %f", async (lengthPenalty) => {
    for (let salt = 0; salt < 5; salt++) {
      const [words, maxTokens] = [3, 4];
      const score = scores(words, salt);
      const texts: { tokens: number[]; score: number }[] = [];
      const walk = (tokens: number[], sum: number) => {
        const row = score(tokens);
        for (let w = 0; w < words; w++) {
          const s = sum + logProbability(row, w);
          const length = tokens.length + 1;
          if (w === 0) texts.push({ tokens, score: s / length ** lengthPenalty });
          else if (length === maxTokens) texts.push({ tokens: [...tokens, w], score: s / length ** lengthPenalty });
          else walk([...tokens, w], s);
        }
      };
      walk([], 0);
      texts.sort((a, b) => b.score - a.score);
      const beams = texts.length;
      const ends = (tokens: readonly number[]) => (tokens.at(-1) === 0 ? ("token" as const) : undefined);
      const best = await beamSearch(decoderOf(score, beams), { beams, maxTokens, lengthPenalty, given: 0, ends });
      expect(best[0].tokens).toEqual(texts[0].tokens);
      expect(best[0].score).toBeCloseTo(texts[0].score, 4);
    }
  });
  test("one beam is the greedy choice; an end that is not among the first beams does not count", async () => {
    const score = scores(4, 9);
    const ends = (tokens: readonly number[]) => (tokens.at(-1) === 0 ? ("token" as const) : undefined);
    const [one] = await beamSearch(decoderOf(score, 1), { beams: 1, maxTokens: 6, lengthPenalty: 1, given: 0, ends });
    const greedy: number[] = [];
    while (greedy.length < 6) {
      const row = score(greedy);
      const word = row.indexOf(Math.max(...row));
      if (word === 0) break;
      greedy.push(word);
    }
    expect(one.tokens).toEqual(greedy);
    // the end is the third likeliest of the first words: of two beams neither ends there
    const shy = (text: readonly number[]) => (text.length === 0 ? [1, 3, 2, 0] : [-9, 0, 0, 0]);
    const [first] = await beamSearch(decoderOf(shy, 2), { beams: 2, maxTokens: 2, lengthPenalty: 1, given: 0, ends });
    expect(first.tokens).toHaveLength(2);
  });
  test("a text that goes on longer may win by its mean; one that cannot win ends the search", async () => {
    let calls = 0;
    // word 0 ends at once with probability a half; going on costs nothing after the first word
    const score = (text: readonly number[]) => (text.length === 0 ? [0, 0, -20] : text.length < 3 ? [-20, 0, -20] : [0, -20, -20]);
    const { begin, next } = decoderOf(score, 2);
    const ends = (tokens: readonly number[]) => (tokens.at(-1) === 0 ? ("token" as const) : undefined);
    const best = await beamSearch(
      {
        begin,
        next: (...args) => {
          calls++;
          return next(...args);
        },
      },
      { beams: 2, maxTokens: 50, lengthPenalty: 1, given: 0, ends },
    );
    expect(best[0].tokens).toEqual([1, 1, 1]);
    expect(calls).toBeLessThan(10);
  });
});
