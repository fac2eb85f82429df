/** How far back tokens look, layer by layer, and DeepSeek's attention, each against sums written out. */
import { describe, expect, test } from "@jest/globals";
import { bools, type Inputs, ints, predicted, problems, project, someValue } from "./support.ts";

const base = {
  vocab_size: 13,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  max_position_embeddings: 32,
};
const S = 8;
const words = [1, 2, 3, 4, 5, 6, 7, 8];
const inputs = (rows: readonly (readonly number[])[]): Inputs => ({
  input_ids: ints([rows.length, S], rows.flat()),
  attention_mask: bools(
    [rows.length, S],
    rows.flatMap(() => Array(S).fill(1)),
  ),
});

const made = (module: string, config: object) =>
  project(
    `import { ${module} } from "std/models/llama"
model m = ${module} from "c"
predict look { model = m data = jsonl("x") columns = ["logits"] }`,
    { c: { ...base, ...config } as never },
  );

/** How many places back the last token is touched by. */
function reach(module: string, config: object): number {
  const p = made(module, config);
  expect(problems(p)).toEqual([]);
  const rows = [words, ...words.map((_, at) => words.map((id, i) => (i === at ? 11 : id)))];
  const { data } = predicted(p, inputs(rows), { B: rows.length, S }).logits;
  const last = (row: number) => [...data].slice(((row + 1) * S - 1) * 13, (row + 1) * S * 13);
  const touched = words.map((_, at) => last(at + 1).some((x, i) => Math.abs(x - last(0)[i]) > 1e-9));
  const first = touched.indexOf(true);
  expect(touched.slice(first).every((t) => t)).toBe(true);
  return S - 1 - first;
}

describe("windows", () => {
  const types = (...kinds: string[]) => ({ layer_types: kinds.map((k) => `${k}_attention`) });
  // a layer that looks back w places, itself included, carries a word on by w − 1
  test.each([
    ["MistralForCausalLM", { sliding_window: 2 }, 3],
    ["MistralForCausalLM", { sliding_window: 3 }, 6],
    ["MistralForCausalLM", { sliding_window: null }, 7],
    ["MistralForCausalLM", {}, 7],
    ["LlamaForCausalLM", { sliding_window: 2 }, 7],
    ["Qwen2ForCausalLM", { sliding_window: 2, max_window_layers: 0 }, 7],
    ["Qwen2ForCausalLM", { use_sliding_window: true, sliding_window: 2, max_window_layers: 0 }, 3],
    ["Qwen2ForCausalLM", { use_sliding_window: true, sliding_window: 2, max_window_layers: 1 }, 7],
    ["Qwen2ForCausalLM", { use_sliding_window: true, sliding_window: 2 }, 7],
    ["Qwen2ForCausalLM", { use_sliding_window: true, sliding_window: null, max_window_layers: 0 }, 7],
    ["Qwen3ForCausalLM", { use_sliding_window: true, sliding_window: 3, head_dim: 6, ...types("sliding", "sliding", "sliding") }, 6],
    ["Qwen3ForCausalLM", { use_sliding_window: true, sliding_window: 3, head_dim: 6, ...types("sliding", "full", "sliding") }, 7],
  ])("%s %j reaches %i back", (module, config, wanted) => expect(reach(module, config)).toBe(wanted));

  test("which layers have one is what `layer_types` says, not how many", () => {
    const logits = (...kinds: string[]) => {
      const p = made("Qwen2ForCausalLM", { use_sliding_window: true, sliding_window: 2, ...types(...kinds) });
      return [...predicted(p, inputs([words]), { B: 1, S }).logits.data];
    };
    const late = logits("full", "sliding", "sliding");
    expect(logits("sliding", "full", "sliding")).not.toEqual(late);
    const p = made("Qwen2ForCausalLM", { use_sliding_window: true, sliding_window: 2, max_window_layers: 1 });
    expect([...predicted(p, inputs([words]), { B: 1, S }).logits.data]).toEqual(late);
  });
  test("kinds of layers that are not there are refused by name", () => {
    for (const layer_types of [["full_attention"], ["full_attention", "chunked_attention", "full_attention"]])
      expect(problems(made("Qwen3ForCausalLM", { layer_types })).join()).toMatch(/P0217 .*layer_types/);
  });
});

test("DeepSeek's stretching sharpens scores, rotated sizes by one factor and all of them by another", () => {
  const [nope, pe, heads, v, D] = [4, 6, 2, 3, 8];
  const scaling = { factor: 4, original_max_position_embeddings: 8, mscale: 0.9, mscale_all_dim: 0.7, beta_fast: 2, beta_slow: 1 };
  const config = {
    ...{ vocab_size: 13, hidden_size: D, intermediate_size: 12, num_hidden_layers: 1, num_attention_heads: heads, hidden_act: "silu" },
    ...{ kv_lora_rank: 5, q_lora_rank: null, qk_nope_head_dim: nope, qk_rope_head_dim: pe, v_head_dim: v, n_routed_experts: null },
    ...{ max_position_embeddings: 32, rope_theta: 100, tie_word_embeddings: false, rope_scaling: { type: "yarn", ...scaling } },
  };
  const p = project(
    `import { DeepseekV2ForCausalLM } from "std/models/plm"
model m = DeepseekV2ForCausalLM from "c"
predict look { model = m data = jsonl("x") columns = ["model.layers.0.self_attn.hidden_states", "model.layers.0.self_attn.y"] }`,
    { c: config },
  );
  expect(problems(p)).toEqual([]);
  const T = 5;
  const seen = predicted(p, { input_ids: ints([1, T], [1, 5, 2, 7, 12]), attention_mask: bools([1, T], Array(T).fill(1)) }, { B: 1, S: T });
  const x = seen["model.layers.0.self_attn.hidden_states"].data;
  const at = "model.layers.0.self_attn";
  const linear = (name: string, row: ArrayLike<number>, out: number) =>
    Array.from({ length: out }, (_, o) =>
      Array.from(row).reduce((s, r, i) => s + r * someValue(`${at}.${name}.weight`, o * row.length + i), 0),
    );
  const log = (m: number) => 0.1 * m * Math.log(scaling.factor) + 1;
  const size = log(scaling.mscale) / log(scaling.mscale_all_dim);
  const pair = (turns: number) => (pe * Math.log(8 / (turns * 2 * Math.PI))) / (2 * Math.log(100));
  const low = Math.max(Math.floor(pair(2)), 0);
  const high = Math.min(Math.ceil(pair(1)), pe - 1);
  const speed = Array.from({ length: pe / 2 }, (_, i) => {
    const plain = 100 ** ((-2 * i) / pe);
    const ramp = Math.min(1, Math.max(0, (i - low) / (high === low ? 0.001 : high - low)));
    return (plain / scaling.factor) * ramp + plain * (1 - ramp);
  });
  const turned = (z: readonly number[], place: number) =>
    z.map((_, i) => {
      const [a, b] = [z[i - (i % 2)], z[i - (i % 2) + 1]];
      const angle = place * speed[Math.floor(i / 2)];
      return size * (i % 2 === 0 ? a * Math.cos(angle) - b * Math.sin(angle) : b * Math.cos(angle) + a * Math.sin(angle));
    });
  const rows = Array.from({ length: T }, (_, t) => {
    const row = Array.from(x)
      .slice(t * D, (t + 1) * D)
      .map(Number);
    const q = linear("q_proj", row, heads * (nope + pe));
    const low_ = linear("kv_a_proj_with_mqa", row, 5 + pe);
    const mean = low_.slice(0, 5).reduce((s, y) => s + y * y, 0) / 5;
    const latent = low_.slice(0, 5).map((y, i) => (y / Math.sqrt(mean + 1e-6)) * someValue(`${at}.kv_a_layernorm.weight`, i));
    const kv = linear("kv_b_proj", latent, heads * (nope + v));
    const shared = turned(low_.slice(5), t);
    return Array.from({ length: heads }, (_, h) => {
      const own = q.slice(h * (nope + pe), (h + 1) * (nope + pe));
      const both = kv.slice(h * (nope + v), (h + 1) * (nope + v));
      return { q: [...own.slice(0, nope), ...turned(own.slice(nope), t)], k: [...both.slice(0, nope), ...shared], v: both.slice(nope) };
    });
  });
  rows.forEach((row, t) => {
    const context = row.flatMap(({ q }, h) => {
      const scores = rows
        .slice(0, t + 1)
        .map((r) => (q.reduce((s, y, i) => s + y * r[h].k[i], 0) * log(scaling.mscale_all_dim) ** 2) / Math.sqrt(nope + pe));
      const weights = scores.map((s) => Math.exp(s - Math.max(...scores)));
      const total = weights.reduce((a, b) => a + b, 0);
      return Array.from({ length: v }, (_, i) => weights.reduce((s, w, j) => s + (w / total) * rows[j][h].v[i], 0));
    });
    linear("o_proj", context, D).forEach((y, i) => {
      expect(seen["model.layers.0.self_attn.y"].data[t * D + i]).toBeCloseTo(y, 9);
    });
  });
});
