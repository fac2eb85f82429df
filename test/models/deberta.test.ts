/** DeBERTa's attention by distance. */
import { describe, expect, test } from "@jest/globals";
import { bools, floats, ints, parameters, predicted, problems, project, someValue } from "./support.ts";

describe("distances", () => {
  const bucket = (distance: number, buckets: number, limit: number) => {
    const near = Math.floor(buckets / 2);
    const d = Math.abs(distance);
    if (d <= near) return distance;
    // (limit − 1) / near to the power k / (near − 1) is where bucket near + k ends: how many powers lie below, exactly at the last one
    let k = 0;
    while (d === limit - 1 ? k < near - 1 : d > near * ((limit - 1) / near) ** (k / (near - 1)) * (1 + 1e-12)) k++;
    return Math.sign(distance) * (near + k);
  };
  test.each([
    [256, 512],
    [8, 40],
    [16, 33],
  ])("%i buckets up to %i", (buckets, limit) => {
    const text = `import { log_bucket } from "std/models/deberta_v2"
module Probe() { forward(x: i32[R]) -> y: i32[R] { y = clamp(log_bucket(x, ${buckets}, ${limit}), ${-buckets}, ${buckets} - 1) } }
model m = Probe()
predict look { model = m data = jsonl("rows") columns = ["y"] }`;
    const p = project(text);
    expect(problems(p)).toEqual([]);
    const x = Array.from({ length: 4 * limit + 1 }, (_, i) => i - 2 * limit);
    const { y } = predicted(p, { x: ints([x.length], x) }, { R: x.length });
    expect([...y.data]).toEqual(x.map((d) => Math.max(-buckets, Math.min(bucket(d, buckets, limit), buckets - 1))));
  });
});

describe("scores", () => {
  test("skew puts each row one place further", () => {
    const text = `import { skew } from "std/nn"
module Probe() { forward(a: f32[B, H, S, S], b: f32[B, H, S, T]) -> y: f32[B, H, S, T] { y = skew(concat([a, b], axis: -1)) } }
model m = Probe()
predict look { model = m data = jsonl("rows") columns = ["y"] }`;
    const p = project(text);
    expect(problems(p)).toEqual([]);
    for (const [s, t] of [
      [3, 3],
      [1, 4],
      [4, 2],
    ]) {
      const x = (h: number, i: number, column: number) => 100 * h + 10 * i + column;
      const block = (from: number, width: number) =>
        [0, 1].flatMap((h) => Array.from({ length: s * width }, (_, k) => x(h, Math.floor(k / width), from + (k % width))));
      const { y } = predicted(
        p,
        { a: floats([1, 2, s, s], block(0, s)), b: floats([1, 2, s, t], block(s, t)) },
        { B: 1, H: 2, S: s, T: t },
      );
      const expected = [0, 1].flatMap((h) =>
        Array.from({ length: s * t }, (_, k) => {
          const [i, j] = [Math.floor(k / t), k % t];
          return x(h, i, j - i + s - 1);
        }),
      );
      expect([...y.data]).toEqual(expected);
    }
  });
});

describe("attention", () => {
  const [D, H, S, real] = [8, 2, 5, 4];
  const config = {
    ...{ vocab_size: 20, hidden_size: D, num_hidden_layers: 1, num_attention_heads: H, intermediate_size: 12, max_position_embeddings: 3 },
    ...{ relative_attention: true, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0, layer_norm_eps: 1e-6 },
  };
  test.each([
    { share_att_key: false, position_buckets: -1, position_biased_input: false, norm_rel_ebd: "none", pos_att_type: ["p2c", "c2p"] },
    { share_att_key: true, position_buckets: -1, position_biased_input: false, norm_rel_ebd: "layer_norm", pos_att_type: "c2p|p2c" },
    { share_att_key: false, position_buckets: -1, max_relative_positions: 2, position_biased_input: false, pos_att_type: ["p2c"] },
    { share_att_key: true, position_buckets: 2, max_relative_positions: 9, position_biased_input: false, pos_att_type: "c2p" },
    { relative_attention: false, position_biased_input: false, pos_att_type: [] },
  ])("%j", (fields) => {
    const p = project(
      `import { DebertaV2ForMaskedLM } from "std/models/deberta_v2"
model m = DebertaV2ForMaskedLM from "c"
predict look { model = m data = jsonl("x") columns = ["deberta.encoder.layer.0.attention.self.hidden_states", "deberta.encoder.layer.0.attention.self.context"] }`,
      { c: { ...config, ...fields } as never },
    );
    expect(problems(p)).toEqual([]);
    const at = "deberta.encoder.layer.0.attention.self";
    const mask = Array.from({ length: S }, (_, i) => Number(i < real));
    const seen = predicted(p, { input_ids: ints([1, S], [3, 7, 11, 19, 0]), attention_mask: bools([1, S], mask) }, { B: 1, S });
    const x = Array.from({ length: S }, (_, i) => [...seen[`${at}.hidden_states`].data].slice(i * D, (i + 1) * D).map(Number));
    const relative = fields.relative_attention !== false;
    const types = String(fields.pos_att_type);
    const span = fields.position_buckets === 2 ? 2 : (fields.max_relative_positions ?? config.max_position_embeddings);
    const table = Array.from({ length: 2 * span }, (_, r) => {
      const row = Array.from({ length: D }, (_, i) => someValue("deberta.encoder.rel_embeddings.weight", r * D + i));
      if (fields.norm_rel_ebd !== "layer_norm") return row;
      const mean = row.reduce((a, b) => a + b) / D;
      const spread = Math.sqrt(row.reduce((s, v) => s + (v - mean) ** 2, 0) / D + config.layer_norm_eps);
      const scale = (part: string, i: number) => someValue(`deberta.encoder.LayerNorm.${part}`, i);
      return row.map((v, i) => ((v - mean) / spread) * scale("weight", i) + scale("bias", i));
    });
    const linear = (name: string, rows: readonly (readonly number[])[], head: number) =>
      rows.map((row) =>
        Array.from({ length: D / H }, (_, k) => {
          const o = head * (D / H) + k;
          return row.reduce((s, v, i) => s + v * someValue(`${at}.${name}.weight`, o * D + i), someValue(`${at}.${name}.bias`, o));
        }),
      );
    const dot = (a: readonly number[], b: readonly number[]) => a.reduce((s, v, i) => s + v * b[i], 0);
    // with two buckets there is one for all distances on either side
    const row = (distance: number) => {
      const d = fields.position_buckets === 2 ? Math.sign(distance) * Math.min(Math.abs(distance), 1) : distance;
      return Math.max(0, Math.min(d + span, 2 * span - 1));
    };
    const kinds = 1 + Number(types.includes("c2p")) + Number(types.includes("p2c"));
    for (let h = 0; h < H; h++) {
      const [q, k, v] = ["query_proj", "key_proj", "value_proj"].map((name) => linear(name, x, h));
      const keys = relative && types.includes("c2p") ? linear(fields.share_att_key ? "key_proj" : "pos_key_proj", table, h) : undefined;
      const queries =
        relative && types.includes("p2c") ? linear(fields.share_att_key ? "query_proj" : "pos_query_proj", table, h) : undefined;
      for (let i = 0; i < S; i++) {
        const scores = x.map((_, j) => {
          if (i >= real || j >= real) return -1e30;
          const byPlace = (keys ? dot(q[i], keys[row(i - j)]) : 0) + (queries ? dot(k[j], queries[row(i - j)]) : 0);
          return (dot(q[i], k[j]) + byPlace) / Math.sqrt((D / H) * kinds);
        });
        const most = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - most));
        const total = weights.reduce((a, b) => a + b);
        for (let c = 0; c < D / H; c++) {
          // places that are no text see nothing
          const wanted = i >= real ? 0 : weights.reduce((s, w, j) => s + (w / total) * v[j][c], 0);
          expect(seen[`${at}.context`].data[i * D + h * (D / H) + c]).toBeCloseTo(wanted, 9);
        }
      }
    }
  });
});

test("its loop is a chain, though the first iteration has a convolution of its own", () => {
  const fields =
    'vocab_size: 20, hidden_size: 8, num_hidden_layers: 3, num_attention_heads: 2, intermediate_size: 12, max_position_embeddings: 8, relative_attention: true, pos_att_type: "c2p", conv_kernel_size: 3';
  const logits = (blocks: string | undefined, more: string) => {
    const p = project(`import { DebertaV2ForMaskedLM } from "std/models/deberta_v2"
import { Block } from "std/nn"
method Again(by: float) on [Block] { h = x  for f in blocks { h = by * f(h) }  y := h }
model m = DebertaV2ForMaskedLM(${fields})
${blocks === undefined ? "" : `attach a = Again(${more}) to m.deberta.encoder.${blocks}`}
predict look { model = m data = jsonl("x") columns = ["logits"] }`);
    expect(problems(p)).toEqual([]);
    const inputs = { input_ids: ints([1, 4], [3, 7, 11, 19]), attention_mask: bools([1, 4], [1, 1, 1, 1]) };
    return [...predicted(p, inputs, { B: 1, S: 4 }, someValue).logits.data];
  };
  const plain = logits(undefined, "");
  for (const blocks of ["layer[*]", "layer[1..3]"]) {
    expect(logits(blocks, "1")).toEqual(plain.map((x) => expect.closeTo(x, 9)));
    expect(logits(blocks, "1.5")).not.toEqual(plain.map((x) => expect.closeTo(x, 4)));
  }
});

describe("variants", () => {
  const config = {
    vocab_size: 20,
    hidden_size: 8,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 12,
    max_position_embeddings: 10,
    relative_attention: true,
    hidden_dropout_prob: 0,
    attention_probs_dropout_prob: 0,
  };
  const parts = (fields: object) =>
    parameters(
      project(
        `import { DebertaV2ForMaskedLM } from "std/models/deberta_v2"
model m = DebertaV2ForMaskedLM from "c"`,
        { c: { ...config, ...fields } },
      ),
    );
  test("parameters are those that transformers has", () => {
    expect(parts({ pos_att_type: "p2c|c2p", share_att_key: false, position_buckets: 4, norm_rel_ebd: "layer_norm" })).toMatchObject({
      "deberta.encoder.rel_embeddings.weight": [8, 8],
      "deberta.encoder.LayerNorm.weight": [8],
      "deberta.encoder.layer.1.attention.self.pos_key_proj.weight": [8, 8],
      "deberta.encoder.layer.1.attention.self.pos_query_proj.bias": [8],
      "deberta.embeddings.position_embeddings.weight": [10, 8],
      "cls.predictions.bias": [20],
      "cls.predictions.transform.LayerNorm.weight": [8],
    });
    const shared = Object.keys(parts({ pos_att_type: ["c2p"], share_att_key: true, position_biased_input: false }));
    expect(shared.filter((name) => /pos_|position_|encoder.LayerNorm/.test(name))).toEqual([]);
    expect(parts({ pos_att_type: ["c2p"], share_att_key: true })["deberta.encoder.rel_embeddings.weight"]).toEqual([20, 8]);
    const conv = parts({ conv_kernel_size: 3, conv_groups: 2, embedding_size: 6, type_vocab_size: 2, legacy: true });
    expect(conv).toMatchObject({
      "deberta.encoder.conv.conv.weight": [8, 4, 3],
      "deberta.encoder.conv.conv.bias": [8],
      "deberta.encoder.conv.LayerNorm.bias": [8],
      "deberta.embeddings.embed_proj.weight": [8, 6],
      "deberta.embeddings.token_type_embeddings.weight": [2, 6],
      "cls.predictions.transform.dense.weight": [6, 8],
    });
    expect(Object.keys(parts({ legacy: false })).filter((n) => !n.startsWith("deberta"))).toEqual([
      "lm_predictions.lm_head.bias",
      "lm_predictions.lm_head.dense.weight",
      "lm_predictions.lm_head.dense.bias",
      "lm_predictions.lm_head.LayerNorm.weight",
      "lm_predictions.lm_head.LayerNorm.bias",
    ]);
  });
  test("a convolution is a sum over neighbours", () => {
    const text = `import { Conv1d } from "std/models/deberta_v2"
module Probe() { conv = Conv1d(4, 6, 3, groups: 2)  forward(x: f32[B, S, 4]) -> y: f32[B, S, 6] { y = conv(x) } }
model m = Probe()
predict look { model = m data = jsonl("rows") columns = ["y"] }`;
    const p = project(text);
    expect(problems(p)).toEqual([]);
    const x = Array.from({ length: 20 }, (_, i) => Math.sin(i + 1));
    for (const param of p.params.values()) (param as { source: object }).source = { kind: "file", folder: "", tensor: param.path };
    const value = (path: string, i: number) => Math.cos((path === "conv.bias" ? 100 : 0) + i);
    const { y } = predicted(p, { x: floats([1, 5, 4], x) }, { B: 1, S: 5 }, value);
    for (let t = 0; t < 5; t++)
      for (let o = 0; o < 6; o++) {
        let sum = value("conv.bias", o);
        for (let i = 0; i < 2; i++)
          for (let k = 0; k < 3; k++)
            sum +=
              value("w", (o * 2 + i) * 3 + k) *
              (x[(t + k - 1) * 4 + Math.floor(o / 3) * 2 + i] ?? 0) *
              (t + k - 1 >= 0 && t + k - 1 < 5 ? 1 : 0);
        expect(y.data[t * 6 + o]).toBeCloseTo(sum, 10);
      }
  });
});
