/** Metrics of rows: by hand, and of what a model says. */
import { describe, expect, test } from "@jest/globals";
import type { DatasetSpec } from "../../src/compiler/project.ts";
import type { DataTable } from "../../src/train/data/columns.ts";
import { ROW_METRICS } from "../../src/train/metrics/index.ts";
import type { Options } from "../../src/train/metrics/metric.ts";
import { type Place, peftc, place } from "../cli/support.ts";
import { lines } from "../formats/words.ts";

function score(name: keyof typeof ROW_METRICS, expected: readonly number[], predicted: readonly number[], options: Options = {}) {
  const metric = ROW_METRICS[name];
  if (metric.wants !== "labels") throw new Error(name);
  return metric.of({ expected, predicted }, options);
}

describe("of classes", () => {
  const expected = [0, 1, 2, 0, 1, 2];
  const predicted = [0, 2, 1, 0, 0, 1];
  // class 0: 2 right of 3 predicted and 2 there; classes 1 and 2: none right
  test("F1, precision and recall, averaged", () => {
    expect(score("macro_f1", expected, predicted).macro_f1).toBeCloseTo(0.8 / 3, 12);
    expect(score("macro_precision", expected, predicted).macro_precision).toBeCloseTo(2 / 9, 12);
    expect(score("macro_recall", expected, predicted).macro_recall).toBeCloseTo(1 / 3, 12);
    expect(score("f1", expected, predicted, { average: "macro" }).f1).toBeCloseTo(0.8 / 3, 12);
    expect(score("f1", expected, predicted, { average: "micro" }).f1).toBeCloseTo(1 / 3, 12);
    // by how often each class is the one: 3/4 · 0.8 here
    expect(score("f1", [0, 0, 0, 1], [0, 0, 1, 2], { average: "weighted" }).f1).toBeCloseTo(0.75 * 0.8, 12);
    expect(score("accuracy", expected, predicted).accuracy).toBeCloseTo(1 / 3, 12);
  });
  test("a class that is only predicted counts, one that is nowhere does not", () => {
    // class 0: 2·2/(2+3) = 0.8, class 5: 0
    expect(score("macro_f1", [0, 0, 0], [0, 0, 5]).macro_f1).toBeCloseTo(0.4, 12);
  });
  test("F1 of the positive class is of two classes", () => {
    // class 1: 2 right, 3 predicted, 3 there
    expect(score("f1", [0, 1, 1, 1, 0], [1, 1, 1, 0, 0]).f1).toBeCloseTo(2 / 3, 12);
    expect(score("f1", [0, 1, 1, 1, 0], [1, 1, 1, 0, 0], { positive: 0 }).f1).toBeCloseTo(0.5, 12);
    expect(score("f1", [0, 0], [0, 0]).f1).toBe(0);
    expect(() => score("f1", expected, predicted)).toThrow(/two/);
    expect(() => score("f1", [0, 1], [0, 1], { average: "mean" })).toThrow(/average/);
    expect(() => score("macro_f1", [0.5], [1])).toThrow(/0.5/);
  });
  test("Matthews' correlation", () => {
    expect(score("matthews", [1, 1, 1, 0], [1, 0, 1, 1]).matthews).toBeCloseTo(-1 / 3, 12);
    // c = 2, n = 6: (2·6 − (3·2 + 2·2 + 1·2)) = 0
    expect(score("matthews", expected, predicted).matthews).toBe(0);
    expect(score("matthews", [0, 1, 2], [0, 1, 2]).matthews).toBeCloseTo(1, 12);
    expect(score("matthews", [0, 1], [1, 1]).matthews).toBe(0);
  });
  test("confusion, by names", () => {
    const counts = score("confusion", [2, 0, 2, 2, 0, 1], [0, 0, 2, 2, 0, 2], { classes: ["ant", "bird", "cat"] });
    expect(Object.values(counts)).toEqual([2, 0, 0, 0, 0, 1, 1, 0, 2]);
    expect([counts["confusion/ant/ant"], counts["confusion/bird/cat"], counts["confusion/cat/ant"]]).toEqual([2, 1, 1]);
    expect(Object.keys(score("confusion", [1], [1]))).toContain("confusion/0/1");
    expect(() => score("confusion", [2], [0], { classes: ["a", "b"] })).toThrow(/2 classes/);
  });
});

test("of numbers", () => {
  expect(score("pearson", [10, 9, 2.5, 6, 4, 3, 2], [1, 2, 3, 4, 5, 6, 7]).pearson).toBeCloseTo(-0.828503883588428, 12);
  expect(score("spearman", [5, 6, 7, 8, 7], [1, 2, 3, 4, 5]).spearman).toBeCloseTo(0.8207826816681233, 12);
  expect(score("pearson", [1, 1], [0, 3]).pearson).toBe(0);
});

describe("of voters", () => {
  const agreement = async (voters: readonly (readonly number[])[]) => {
    const metric = ROW_METRICS.agreement;
    if (metric.wants !== "tables") throw new Error();
    const table = (votes: readonly number[]): DataTable => ({
      name: "t",
      rows: votes.length,
      // scores: the class has the most
      columns: new Map([["scores", { rank: 1, pad: 0, row: (i) => [0, 1, 2].map((c) => (c === votes[i] ? 2 : -c)), shape: () => [3] }]]),
    });
    const voter = (i: number): DatasetSpec => ({
      kind: "dataset",
      make: "predicted",
      args: [i],
      options: { columns: ["scores"] },
      part: "main",
      span: { file: "x", start: 0, end: 0 },
    });
    const read = async (spec: DatasetSpec) => table(voters[Number((spec.args[0] as DatasetSpec).args[0])]);
    return metric.of(read, { voters: voters.map((_, i) => voter(i)) });
  };
  test("pairs that agree, and Krippendorff's alpha", async () => {
    const seen = await agreement([
      [0, 1, 0, 0, 0, 0, 0, 0, 1, 0],
      [1, 1, 1, 0, 0, 1, 0, 0, 0, 0],
    ]);
    // his own example of two observers: 4 of 10 apart; 14 · 6 / (20 − 1) expected
    expect(seen.agreement).toBeCloseTo(0.6, 12);
    expect(seen.krippendorff_alpha).toBeCloseTo(1 - 4 / ((14 * 6) / 19), 12);
    const three = await agreement([
      [0, 2],
      [0, 1],
      [0, 1],
    ]);
    expect(three.agreement).toBeCloseTo(2 / 3, 12);
    // apart: of the second row 4 ordered pairs over 2; expected: (3·3 + 1·5 + 2·4) / 5
    expect(three.krippendorff_alpha).toBeCloseTo(1 - 2 / (22 / 5), 12);
    expect(await agreement([[1], [1]])).toEqual({ agreement: 1, krippendorff_alpha: 1 });
    await expect(agreement([[1], [1, 0]])).rejects.toThrow(/same rows/);
  });
});

const rows = Array.from({ length: 11 }, (_, i) => ({ text: "abcdefghijk".slice(i), kind: i % 3 }));
const head = `import { GPT2ForSequenceClassification } from "std/models/gpt2"
import { LoRA } from "std/methods/lora"
import { classification } from "std/objectives"
import { adamw } from "std/training"
model m = GPT2ForSequenceClassification(num_labels: 3, pad_token_id: 256) from "models/tiny" except **.score
attach lora = LoRA(rank: 2) to m.transformer.h[*].attn.c_attn
rows = jsonl("d.jsonl", input: "{text}", label: "kind")
`;
const made = (body: string): Place => {
  const at = place(`${head}${body}`);
  at.put("d.jsonl", lines(rows));
  return at;
};
interface Evaluation {
  readonly event: string;
  readonly stage: string;
  readonly best: boolean;
  readonly [name: string]: unknown;
}

test("a run is judged, and its best chosen, by metrics of rows", async () => {
  const at = made(`
train { objective = classification(m)  data = rows  steps = 4  batch = 4  optimizer = adamw(lr: 1e-1)
  evaluate = { every: 2, data: rows, metrics: [confusion(["x", "y", "z"]), "matthews"], best: "macro_f1" } }
predict one { objective = classification(m)  data = rows  columns = ["logits"] }
predict two { model = m  data = rows  columns = ["logits"] }
evaluate result { objective = classification(m)  data = rows  batch = 4
  metrics = [macro_f1(), confusion(["x", "y", "z"]), agreement([one, two]), f1(average: "micro"), "accuracy"] }
`);
  const { code, out, events } = await peftc(at, ["train", "main.peft", "--json", "--device", "wasm"]);
  expect([code, code === 0 ? "" : out]).toEqual([0, ""]);
  const evaluations = (events() as unknown as Evaluation[]).filter((e) => e.event === "evaluation");
  const inTraining = evaluations.filter((e) => e.stage === "train");
  expect(inTraining).toHaveLength(3);
  for (const e of inTraining) {
    expect(e.macro_f1).toBeGreaterThanOrEqual(0);
    expect(e.matthews).toBeGreaterThanOrEqual(-1);
    expect(["x", "y", "z"].flatMap((a) => ["x", "y", "z"].map((b) => e[`confusion/${a}/${b}`] as number)).reduce((a, b) => a + b)).toBe(11);
  }
  const best = inTraining.filter((e) => e.best).at(-1)!;
  expect(best.macro_f1).toBe(Math.max(...inTraining.map((e) => e.macro_f1 as number)));

  // the same of the predictions that were written
  const predicted = at
    .get("runs/main/one/predictions.jsonl")
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { logits: number[] }).logits)
    .map((logits) => logits.indexOf(Math.max(...logits)));
  const expected = rows.map((row) => row.kind);
  const found = JSON.parse(at.get("runs/main/result/metrics.json")) as Record<string, number>;
  for (const [name, value] of [
    ...Object.entries(score("macro_f1", expected, predicted)),
    ...Object.entries(score("accuracy", expected, predicted)),
    ...Object.entries(score("f1", expected, predicted, { average: "micro" })),
    ...Object.entries(score("confusion", expected, predicted, { classes: ["x", "y", "z"] })),
  ])
    expect([name, found[name]]).toEqual([name, expect.closeTo(value, 6)]);
  expect(found).toMatchObject({ agreement: 1, krippendorff_alpha: 1, macro_f1: best.macro_f1 });
}, 120_000);

test("metrics that do not fit", async () => {
  const evaluate = (metrics: string, objective = "classification(m)") =>
    peftc(made(`evaluate result { objective = ${objective}  data = rows  metrics = ${metrics} }`), [
      "train",
      "main.peft",
      "--device",
      "wasm",
    ]);
  const cases = [
    ['["blue"]', undefined, /P0822.*blue[\s\S]*macro_f1/],
    ["[keyphrase_f1()]", undefined, /P0703.*texts/],
    ["[f1()]", undefined, /P0703.*macro_f1|P0703[\s\S]*macro_f1/],
    ["[confusion(3)]", undefined, /P0703.*names/],
    ["[macro_f1(average: 1)]", undefined, /P0203|P0208|P0205|no .*average/],
    ["[3]", undefined, /P0206/],
    ["[agreement([rows, 1])]", undefined, /P0703.*predict/],
    ["[agreement([rows, rows])]", undefined, /P0703.*column/],
  ] as const;
  for (const [metrics, objective, message] of cases) {
    const { code, err } = await evaluate(metrics, objective);
    expect([metrics, code]).toEqual([metrics, 1]);
    expect(err).toMatch(message);
  }
  const at = made(`module silent(m: GPT2ForSequenceClassification) {
  forward(input_ids: i32[B, S], attention_mask: bool[B, S] = true) -> loss: f32[] { loss = mean(m(input_ids, attention_mask).logits ** 2) } }
evaluate result { objective = silent(m)  data = rows  metrics = [macro_f1()] }`);
  const { code, err } = await peftc(at, ["train", "main.peft", "--device", "wasm"]);
  expect(code).toBe(1);
  expect(err).toMatch(/P0703.*does not say what it predicts/);
}, 120_000);
