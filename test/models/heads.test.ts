/** What heads and their parts compute, written out: activations by name, losses of labels that are numbers, patches of pictures that are not square. */
import { describe, expect, test } from "@jest/globals";
import { floats, ints, predicted, problems, project, someValue } from "./support.ts";

/** The error function, by its Taylor series; beyond ±5 it is ±1. */
function erf(x: number): number {
  if (Math.abs(x) > 5) return Math.sign(x);
  let [term, sum] = [x, x];
  for (let n = 1; n < 80; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const gelu = (x: number) => (x * (1 + erf(x / Math.SQRT2))) / 2;
const byTanh = (x: number) => 0.5 * x * (1 + Math.tanh(0.7978845608028654 * (x + 0.044715 * x ** 3)));
const relu6 = (x: number) => Math.min(Math.max(x, 0), 6);

const activations: Readonly<Record<string, (x: number) => number>> = {
  relu: (x) => Math.max(x, 0),
  relu2: (x) => Math.max(x, 0) ** 2,
  relu6,
  leaky_relu: (x) => (x < 0 ? x / 100 : x),
  gelu,
  gelu_python: gelu,
  gelu_10: (x) => Math.max(-10, Math.min(10, gelu(x))),
  gelu_new: byTanh,
  gelu_fast: byTanh,
  gelu_accurate: byTanh,
  gelu_pytorch_tanh: byTanh,
  gelu_python_tanh: byTanh,
  quick_gelu: (x) => x * sigmoid(1.702 * x),
  silu: (x) => x * sigmoid(x),
  swish: (x) => x * sigmoid(x),
  hardswish: (x) => (x * relu6(x + 3)) / 6,
  mish: (x) => x * Math.tanh(Math.log(1 + Math.exp(x))),
  laplace: (x) => 0.5 * (1 + erf((x - 0.707107) / (0.282095 * Math.SQRT2))),
  sigmoid,
  tanh: Math.tanh,
  linear: (x) => x,
};

test("activations are those of transformers' names", () => {
  const names = Object.keys(activations);
  const p = project(`import { activations } from "std/nn"
module Probe() { forward(x: f32[R]) -> y: f32[${names.length}, R] {
  require length(activations) == ${names.length}
  y = stack([activations[name](x) for name in ${JSON.stringify(names)}])
} }
model m = Probe()
predict look { model = m data = jsonl("x") columns = ["y"] }`);
  expect(problems(p)).toEqual([]);
  const x = [-4, -2.5, -1, -0.3, 0, 0.2, 1, 1.5, 4];
  const { data } = predicted(p, { x: floats([x.length], x) }, { R: x.length }).y;
  names.forEach((name, n) => {
    x.forEach((v, i) => {
      expect([name, v, data[n * x.length + i]]).toEqual([name, v, expect.closeTo(activations[name](v), 6)]);
    });
  });
});

describe("what is not known is refused by its name", () => {
  const bert =
    "vocab_size: 9, hidden_size: 4, num_hidden_layers: 1, num_attention_heads: 1, intermediate_size: 4, max_position_embeddings: 8";
  const t5 = "vocab_size: 9, d_model: 4, d_kv: 2, d_ff: 4, num_layers: 1, num_heads: 2";
  test.each([
    ["bert", `BertForSequenceClassification(${bert}, hidden_act: "xielu")`, /P0202 there is no "xielu"/],
    ["bert", `BertForSequenceClassification(${bert}, position_embedding_type: "relative_key")`, /P0217 relative positions/],
    ["t5", `T5ForTokenClassification(${t5}, feed_forward_proj: "gated-foo")`, /P0202 there is no "foo"/],
    ["t5", `T5ForTokenClassification(${t5}, feed_forward_proj: "tied-relu")`, /P0202 there is no "tied-relu"/],
    ["deberta_v2", `DebertaV2ForTokenClassification(${bert}, relative_attention: true, pos_att_type: "p2p")`, /P0217 .*`pos_att_type`/],
  ])("%s: %s", (file, model, wanted) => {
    const [name] = model.split("(");
    const p = project(`import { ${name} } from "std/models/${file}"
model m = ${model}
predict look { model = m data = jsonl("x") columns = ["logits"] }`);
    expect(problems(p).join()).toMatch(wanted);
  });
});

describe("labels that are numbers", () => {
  // a class's score is a row of a table, by the first word
  const fake = (labels: number, objective: string) =>
    project(`import { Classifier } from "std/nn"
import { ${objective} } from "std/objectives"
type FakeConfig { num_labels: int }
module Fake(c: FakeConfig) as Classifier {
  param table: f32[5, c.num_labels] = 0
  forward(input_ids: i32[B, S], attention_mask: bool[B, S] = true) -> logits: f32[B, c.num_labels] { logits = table[input_ids[:, 0]] }
}
model m = Fake(num_labels: ${labels})
predict look { objective = ${objective}(m) data = jsonl("x") columns = ["loss"${objective === "classification" ? "" : ', "predicted", "expected"'}] }`);
  const ids = [3, 1, 4];
  const score = (row: number, c: number, labels: number) => 3 * someValue("table", ids[row] * labels + c);
  const seen = (labels: number, objective: string, label: readonly number[]) => {
    const p = fake(labels, objective);
    expect(problems(p)).toEqual([]);
    const inputs = { input_ids: ints([3, 1], ids), label: floats([3, labels], label) };
    return predicted(p, inputs, { B: 3, S: 1 }, (path, i) => 3 * someValue(path, i));
  };
  test.each([1, 2])("regression to %i", (labels) => {
    const label = [0.5, -1, 2, 0.25, 3, -0.75].slice(0, 3 * labels);
    const { loss, predicted: p, expected } = seen(labels, "regression", label);
    const gaps = label.map((y, i) => score(Math.floor(i / labels), i % labels, labels) - y);
    expect(loss.data[0]).toBeCloseTo(gaps.reduce((s, g) => s + g * g, 0) / gaps.length, 9);
    expect([...expected.data]).toEqual(label);
    label.forEach((y, i) => expect(p.data[i]).toBeCloseTo(gaps[i] + y, 9));
  });
  test("one class is no classification", () => {
    expect(problems(fake(1, "classification")).join()).toMatch(/P0217 one class tells nothing apart/);
  });
  test("several classes at once", () => {
    const label = [1, 0, 1, 0, 0, 1, 1, 1, 0];
    const { loss, predicted: p } = seen(3, "multi_label", label);
    const terms = label.map((y, i) => {
      const q = sigmoid(score(Math.floor(i / 3), i % 3, 3));
      return -(y * Math.log(q) + (1 - y) * Math.log(1 - q));
    });
    expect(loss.data[0]).toBeCloseTo(terms.reduce((a, b) => a + b, 0) / terms.length, 9);
    expect([...p.data].map(Number)).toEqual(label.map((_, i) => Number(score(Math.floor(i / 3), i % 3, 3) > 0)));
  });
});

test("patches of a picture that is not square, one by one", () => {
  const [C, H, W, h, w, D] = [2, 4, 6, 2, 3, 3];
  const p = project(`import { PatchProjection, ViTConfig } from "std/models/vit"
module Probe() { projection = PatchProjection(ViTConfig(hidden_size: ${D}, num_channels: ${C}, image_size: [${H}, ${W}], patch_size: [${h}, ${w}]))
  forward(x: f32[B, ${C}, ${H}, ${W}]) -> y: f32[B, 4, ${D}] { y = projection(x) } }
model m = Probe()
predict look { model = m data = jsonl("x") columns = ["y"] }`);
  expect(problems(p)).toEqual([]);
  const x = Array.from({ length: C * H * W }, (_, i) => Math.sin(i + 1));
  const value = (path: string, i: number) => Math.cos(path.length + i);
  const { y } = predicted(p, { x: floats([1, C, H, W], x) }, { B: 1 }, value);
  for (let patch = 0; patch < 4; patch++)
    for (let d = 0; d < D; d++) {
      let sum = value("projection.bias", d);
      for (let c = 0; c < C; c++)
        for (let i = 0; i < h; i++)
          for (let j = 0; j < w; j++) {
            const [row, column] = [Math.floor(patch / 2) * h + i, (patch % 2) * w + j];
            sum += x[(c * H + row) * W + column] * value("projection.weight", ((d * C + c) * h + i) * w + j);
          }
      expect(y.data[patch * D + d]).toBeCloseTo(sum, 9);
    }
});
