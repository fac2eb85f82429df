/** Configurations of decoders that say the same in two ways, experts, and what is refused. */
import { describe, expect, test } from "@jest/globals";
import type { PredictStage } from "../../src/compiler/project.ts";
import { markSparse } from "../../src/ir/passes/sparse.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { bools, floats, ints, predicted, problems, project } from "./support.ts";

const base = {
  ...{ vocab_size: 13, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1 },
  ...{ max_position_embeddings: 32, pad_token_id: 0 },
};
const S = 7;

function logits(file: string, module: string, config: object): readonly number[] | string {
  const p = project(
    `import { ${module} } from "std/models/${file}"
model m = ${module} from "c"
predict look { model = m data = jsonl("x") columns = ["logits"] }`,
    { c: { ...base, ...config } as never },
  );
  const wrong = problems(p).join();
  if (wrong) return wrong;
  const inputs = { input_ids: ints([1, S], [1, 2, 3, 4, 5, 6, 7]), attention_mask: bools([1, S], Array(S).fill(1)) };
  return [...predicted(p, inputs, { B: 1, S }).logits.data];
}
/** The first is what all say; `others` say something else. */
function same(file: string, module: string, alike: readonly object[], others: readonly object[]): void {
  const [first, ...rest] = alike.map((config) => logits(file, module, config));
  expect(typeof first).toBe("object");
  for (const one of rest) expect(one).toEqual(first);
  for (const config of others) {
    const other = logits(file, module, config);
    expect(typeof other).toBe("object");
    expect(other).not.toEqual(first);
  }
}

describe("two ways to say the same", () => {
  const kinds = (full: object, sliding: object) => ({
    rope_parameters: { full_attention: { rope_type: "default", ...full }, sliding_attention: { rope_type: "default", ...sliding } },
  });
  test("Gemma 3's bases of rotation", () => {
    const gemma = { head_dim: 4, query_pre_attn_scalar: 4, sliding_window: 3, layer_types: ["sliding_attention", "full_attention"] };
    const slow = { rope_type: "linear", factor: 4 };
    same(
      "gemma3",
      "Gemma3ForCausalLM",
      [
        { ...gemma, rope_theta: 300, rope_local_base_freq: 20, rope_scaling: slow },
        { ...gemma, ...kinds({ ...slow, rope_theta: 300 }, { rope_theta: 20 }) },
        { ...gemma, layer_types: undefined, sliding_window_pattern: 2, rope_theta: 300, rope_local_base_freq: 20, rope_scaling: slow },
      ],
      [
        { ...gemma, ...kinds({ ...slow, rope_theta: 300 }, { ...slow, rope_theta: 20 }) },
        { ...gemma, ...kinds({ rope_theta: 300 }, { rope_theta: 20 }) },
        { ...gemma, rope_theta: 300, rope_local_base_freq: 300, rope_scaling: slow },
      ],
    );
  });
  test("ModernBERT's", () => {
    const modern = { num_key_value_heads: undefined, local_attention: 2 };
    const sliding = { ...modern, global_attn_every_n_layers: 2, global_rope_theta: 300, local_rope_theta: 20 };
    same(
      "modernbert",
      "ModernBertForMaskedLM",
      [sliding, { ...modern, layer_types: ["full_attention", "sliding_attention"], ...kinds({ rope_theta: 300 }, { rope_theta: 20 }) }],
      [
        { ...sliding, local_rope_theta: null },
        { ...sliding, local_attention: 4 },
        { ...modern, layer_types: ["full_attention", "full_attention"], ...kinds({ rope_theta: 300 }, { rope_theta: 20 }) },
      ],
    );
  });
  test("Phi-3's longrope, by its first name", () => {
    const stretch = { short_factor: [1, 2], long_factor: [3, 5] };
    const phi = { original_max_position_embeddings: 4 };
    same(
      "phi3",
      "Phi3ForCausalLM",
      [
        { ...phi, rope_scaling: { type: "longrope", ...stretch } },
        { ...phi, rope_scaling: { type: "su", ...stretch } },
        { ...phi, rope_parameters: { rope_type: "longrope", rope_theta: 10000, ...stretch } },
      ],
      [{ ...phi }, { original_max_position_embeddings: 16, rope_scaling: { type: "su", ...stretch } }],
    );
    expect(logits("phi3", "Phi3ForCausalLM", { rope_scaling: { type: "linear", factor: 2 } })).toMatch(/P0217 .*longrope/);
  });
  test("SmolLM3's layers without places", () => {
    same(
      "smollm3",
      "SmolLM3ForCausalLM",
      [{ no_rope_layers: [1, 0] }, { no_rope_layer_interval: 2 }, { no_rope_layers: [1, 0], sliding_window: 2 }],
      [{}, { no_rope_layers: [0, 1] }, { no_rope_layers: [1, 0], sliding_window: 2, use_sliding_window: true }],
    );
    expect(logits("smollm3", "SmolLM3ForCausalLM", { no_rope_layers: [1] })).toMatch(/P0217 .*no_rope_layers/);
  });
});

describe("experts", () => {
  test("the likeliest few are asked, of equal ones the first, and their shares may add up to 1", () => {
    const p = project(`import { shares_of } from "std/decoders"
module Probe() { forward(x: f32[R, 4]) -> y: f32[R, 4], even: f32[R, 4] {
  y    = shares_of(x, 2, false)
  even = shares_of(x, 2, true)
} }
model m = Probe()
predict look { model = m data = jsonl("x") columns = ["y", "even"] }`);
    const { y, even } = predicted(p, { x: floats([2, 4], [0.1, 0.4, 0.2, 0.3, 0.25, 0.25, 0.25, 0.25]) }, { R: 2 });
    expect([...y.data]).toEqual([0, 0.4, 0, 0.3, 0.25, 0.25, 0, 0]);
    [0, 4 / 7, 0, 3 / 7, 0.5, 0.5, 0, 0].forEach((share, i) => {
      expect(even.data[i]).toBeCloseTo(share, 12);
    });
  });
  const qwen = { num_experts: 3, num_experts_per_tok: 1, moe_intermediate_size: 6 };
  test("where they are, and what their shares are", () => {
    same(
      "qwen3_moe",
      "Qwen3MoeForCausalLM",
      [
        { ...qwen, mlp_only_layers: [0] },
        { ...qwen, decoder_sparse_step: 2 },
      ],
      [
        { ...qwen, mlp_only_layers: [1] },
        { ...qwen, decoder_sparse_step: 2, norm_topk_prob: true },
        { ...qwen, decoder_sparse_step: 2, num_experts_per_tok: 2 },
      ],
    );
  });
  const deepseek = {
    ...{ ...qwen, kv_lora_rank: 5, q_lora_rank: null, qk_rope_head_dim: 4, qk_nope_head_dim: 4, v_head_dim: 3, first_k_dense_replace: 1 },
    ...{ n_routed_experts: 6, n_group: 2, topk_group: 1, num_experts_per_tok: 3 },
  };
  test("only experts of the best groups are asked", () => {
    same(
      "deepseek_v3",
      "DeepseekV3ForCausalLM",
      [deepseek],
      [
        { ...deepseek, n_group: 1 },
        { ...deepseek, topk_group: 2 },
      ],
    );
  });
  test("products of an expert may leave out the tokens that do not ask it", () => {
    const wide = { vocab_size: 16, hidden_size: 64, intermediate_size: 64, num_hidden_layers: 1, num_local_experts: 4 };
    const p = project(
      `import { MixtralForCausalLM } from "std/models/mixtral"
model m = MixtralForCausalLM from "c"
predict look { model = m data = jsonl("x") columns = ["logits"] }`,
      { c: { ...base, ...wide } as never },
    );
    const stage = p.actions.flatMap((a): PredictStage[] => (a.kind === "stage" && a.stage.verb === "predict" ? [a.stage] : []))[0];
    const sizes = new Map([
      ["B", 2],
      ["S", 128],
    ]);
    expect(markSparse(compileGraph(stage.entry.graph, { sizes }).graph).marked).toBe(3 * 4 + 1); // and weights of words that are not looked at
  });
  test("what cannot be is refused by name", () => {
    const cases: readonly (readonly [string, string, object, RegExp])[] = [
      ["mixtral", "MixtralForCausalLM", { num_local_experts: 2, num_experts_per_tok: 3 }, /num_experts_per_tok/],
      ["mixtral", "MixtralForCausalLM", { output_router_logits: true }, /balances/],
      ["mixtral", "MixtralForCausalLM", { router_jitter_noise: 0.1 }, /noise/],
      ["qwen3_moe", "Qwen3MoeForCausalLM", { ...qwen, num_experts_per_tok: 4 }, /num_experts_per_tok/],
      ["qwen3_moe", "Qwen3MoeForCausalLM", { ...qwen, output_router_logits: true }, /balances/],
      ["deepseek_v3", "DeepseekV3ForCausalLM", { ...deepseek, num_experts_per_tok: 4 }, /must hold so many/],
      ["deepseek_v3", "DeepseekV3ForCausalLM", { ...deepseek, n_group: 6 }, /n_group/],
      ["gemma2", "Gemma2ForCausalLM", { head_dim: 4, use_bidirectional_attention: true }, /later words/],
      ["gemma3", "Gemma3ForCausalLM", { head_dim: 4, use_bidirectional_attention: true }, /later words/],
      ["gemma2", "Gemma2ForCausalLM", { head_dim: 4, layer_types: ["full_attention"] }, /layer_types/],
    ];
    for (const [file, module, config, why] of cases) expect(logits(file, module, config)).toMatch(new RegExp(`P0217 .*${why.source}`));
  });
});
