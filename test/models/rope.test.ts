/** Stretched rotary positions, against the recipes of transformers written out for one pair after another. */
import { describe, expect, test } from "@jest/globals";
import { ints, predicted, problems, project } from "./support.ts";

type Scaling = Readonly<Record<string, number | string | boolean | readonly number[]>>;
const SIZE = 16;
const THETA = 10000;
const LIMIT = 64;

function speeds(s: Scaling, places: number): { speed: number[]; size: number } {
  const plain = Array.from({ length: SIZE / 2 }, (_, i) => 1 / THETA ** ((2 * i) / SIZE));
  const factor = Number(s.factor);
  if (s.rope_type === "linear") return { speed: plain.map((f) => f / factor), size: 1 };
  if (s.rope_type === "dynamic") {
    const base = THETA * ((factor * Math.max(places, LIMIT)) / LIMIT - (factor - 1)) ** (SIZE / (SIZE - 2));
    return { speed: Array.from({ length: SIZE / 2 }, (_, i) => 1 / base ** ((2 * i) / SIZE)), size: 1 };
  }
  const trained = Number(s.original_max_position_embeddings ?? LIMIT);
  if (s.rope_type === "llama3") {
    const [low, high] = [Number(s.low_freq_factor), Number(s.high_freq_factor)];
    return {
      size: 1,
      speed: plain.map((f) => {
        const wave = (2 * Math.PI) / f;
        if (wave < trained / high) return f;
        if (wave > trained / low) return f / factor;
        const smooth = (trained / wave - low) / (high - low);
        return ((1 - smooth) * f) / factor + smooth * f;
      }),
    };
  }
  if (s.rope_type === "longrope") {
    const by = (places > trained ? s.long_factor : s.short_factor) as readonly number[];
    const ratio = Number(s.factor ?? LIMIT / trained);
    const size = ratio <= 1 ? 1 : Math.sqrt(1 + Math.log(ratio) / Math.log(trained));
    return { speed: plain.map((f, i) => f / by[i]), size: Number(s.attention_factor ?? size) };
  }
  const turning = (turns: number) => (SIZE * Math.log(trained / (turns * 2 * Math.PI))) / (2 * Math.log(THETA));
  let low = turning(Number(s.beta_fast ?? 32));
  let high = turning(Number(s.beta_slow ?? 1));
  if (s.truncate !== false) [low, high] = [Math.floor(low), Math.ceil(high)];
  low = Math.max(low, 0);
  high = Math.min(high, SIZE - 1);
  if (low === high) high += 0.001;
  const scale = (m: number) => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  const size =
    Number(s.attention_factor) || (s.mscale && s.mscale_all_dim ? scale(Number(s.mscale)) / scale(Number(s.mscale_all_dim)) : scale(1));
  return {
    size,
    speed: plain.map((f, i) => {
      const ramp = Math.min(1, Math.max(0, (i - low) / (high - low)));
      return (f / factor) * ramp + f * (1 - ramp);
    }),
  };
}

const short_factor = [1, 1, 1.5, 1.5, 2, 2, 2.5, 3];
const long_factor = [1, 2, 3, 5, 8, 13, 21, 34];
const cases: readonly Scaling[] = [
  { rope_type: "dynamic", factor: 3 },
  { rope_type: "longrope", original_max_position_embeddings: 16, short_factor, long_factor },
  { rope_type: "longrope", original_max_position_embeddings: 90, short_factor, long_factor, factor: 6 },
  { rope_type: "longrope", original_max_position_embeddings: 16, short_factor, long_factor, attention_factor: 1.25 },
  { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
  { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16, mscale: 0.9, mscale_all_dim: 0 },
  { rope_type: "linear", factor: 2.5 },
  { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 },
  { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16 },
  { rope_type: "yarn", factor: 2, beta_fast: 8, beta_slow: 2, truncate: false },
  { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16, mscale: 0.9, mscale_all_dim: 0.5 },
  { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16, attention_factor: 1.3 },
];
describe("stretched positions", () => {
  test.each(cases.map((s) => [JSON.stringify(s), s] as const))("%s", (_name, s) => {
    const fields = Object.entries(s).map(([k, v]) => `${k}: ${JSON.stringify(v)}`);
    const p = project(`import { rope_speed, rope_size, RopeScaling } from "std/nn"
module Probe() { forward(places: i32[R]) -> y: f32[4, ${SIZE / 2}] {
  s = RopeScaling(${fields.join(", ")})
  y = stack([rope_speed(${SIZE}, ${THETA}, s, ${LIMIT}, max(places[i:i + 1])) for i in 0..4])
  size = rope_size(s, ${LIMIT}) + 0 * sum(places)
} }
model m = Probe()
predict look { model = m data = jsonl("x") columns = ["y", "size"] }`);
    expect(problems(p)).toEqual([]);
    const lengths = [3, 64, 65, 200];
    const { y, size } = predicted(p, { places: ints([4], lengths) }, { R: 4 });
    lengths.forEach((places, row) => {
      const wanted = speeds(s, places);
      wanted.speed.forEach((v, i) => {
        expect(y.data[(row * SIZE) / 2 + i]).toBeCloseTo(v, 10);
      });
      expect(size.data[0]).toBeCloseTo(wanted.size, 10);
    });
  });
  test("both spellings of a configuration are read, and what is not built is refused", () => {
    const llama = {
      vocab_size: 13,
      hidden_size: 8,
      intermediate_size: 12,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      max_position_embeddings: 16,
    };
    const logits = (config: object, name = "LlamaForCausalLM", file = "llama") => {
      const p = project(
        `import { ${name} } from "std/models/${file}"
model m = ${name} from "c"
predict look { model = m data = jsonl("x") columns = ["logits"] }`,
        { c: { ...llama, ...config } as never },
      );
      const wrong = problems(p).filter((x) => !x.startsWith("P06"));
      return wrong.length > 0
        ? wrong
        : [
            ...predicted(
              p,
              { input_ids: ints([1, 5], [1, 2, 3, 4, 5]), attention_mask: { dtype: "bool", shape: [1, 5], data: [1, 1, 1, 1, 1] } },
              { B: 1, S: 5 },
            ).logits.data,
          ];
    };
    const yarn = { factor: 4, original_max_position_embeddings: 4 };
    const old = logits({ rope_theta: 100, rope_scaling: { type: "yarn", ...yarn } });
    expect(logits({ rope_parameters: { rope_type: "yarn", rope_theta: 100, ...yarn } })).toEqual(old);
    expect(logits({ rope_theta: 100 })).not.toEqual(old);
    expect(String(logits({ rope_scaling: { rope_type: "su", factor: 2 } }))).toMatch(/"su"/);
    expect(String(logits({ rope_scaling: { rope_type: "linear" } }))).toMatch(/P0217 .*lacks a field/);
    expect(String(logits({ rope_scaling: { rope_type: "longrope", short_factor: [1], long_factor: [1] } }))).toMatch(
      /P0217 .*for each pair/,
    );
    expect(String(logits({ partial_rotary_factor: 0.6 }))).not.toMatch(/P0/);
    for (const partial_rotary_factor of [0.3, 1.5]) expect(String(logits({ partial_rotary_factor }))).toMatch(/P0217 .*part of a head/);
    expect(String(logits({ rope_parameters: { full_attention: { rope_type: "default" } } }))).toMatch(/P0217 .*kind of layer/);
    // the text of five is longer than these four; what an older version keeps beside the record is in it now
    const pairs = { short_factor: [1, 2], long_factor: [3, 5] };
    const long = logits({ rope_scaling: { rope_type: "longrope", ...pairs, original_max_position_embeddings: 4 } });
    expect(logits({ original_max_position_embeddings: 4, rope_scaling: { rope_type: "longrope", ...pairs } })).toEqual(long);
    expect(logits({ rope_scaling: { rope_type: "longrope", ...pairs } })).not.toEqual(long);
    const neox = { use_parallel_residual: true, intermediate_size: 12 };
    const before = logits({ ...neox, rotary_pct: 0.5, rotary_emb_base: 50 }, "GPTNeoXForCausalLM", "gpt_neox");
    expect(
      logits(
        { ...neox, rope_parameters: { rope_type: "default", rope_theta: 50, partial_rotary_factor: 0.5 } },
        "GPTNeoXForCausalLM",
        "gpt_neox",
      ),
    ).toEqual(before);
  });
});
