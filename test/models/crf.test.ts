/** The conditional random field against all rows of tags, one by one. */

import { expect, test } from "@jest/globals";
import { indexBounds } from "../../src/ir/ops/bounds.ts";
import { bools, floats, ints, predicted, problems, project } from "./support.ts";

const [C, S] = [3, 5];
const text = `import { CRF } from "std/crf"
module Probe(tags: int) { crf = CRF(tags, longest: 8)
  forward(x: f32[B, S, tags], gold: i32[B, S], real: bool[B, S]) -> nll: f32[B], marginals: f32[B, S, tags], best: i32[B, S] {
    nll       = crf.nll(x, gold, real)
    marginals = crf.marginals(x, real)
    best      = crf.viterbi(x, real)
  } }
model m = Probe(${C})
predict look { model = m data = jsonl("rows") columns = ["nll", "marginals", "best"] }`;

test("loss, probabilities and the best row", () => {
  const p = project(text);
  expect(problems(p)).toEqual([]);
  const real = [
    [1, 1, 1, 1, 1],
    [0, 1, 0, 1, 1],
    [1, 1, 0, 0, 0],
    [0, 0, 1, 0, 0],
  ];
  const x = Array.from({ length: 4 * S * C }, (_, i) => 2 * Math.sin(5 * i + 1));
  const gold = Array.from({ length: 4 * S }, (_, i) => (i * 7) % C);
  const value = (path: string, i: number) => 1.5 * Math.cos(path.length * 3 + 2 * i);
  const seen = predicted(p, { x: floats([4, S, C], x), gold: ints([4, S], gold), real: bools([4, S], real.flat()) }, { B: 4, S }, value);
  real.forEach((row, b) => {
    const places = row.flatMap((r, t) => (r ? [t] : []));
    const score = (tags: readonly number[]) =>
      value("crf.start_transitions", tags[0]) +
      value("crf.end_transitions", tags[tags.length - 1]) +
      places.reduce((s, t, k) => s + x[(b * S + t) * C + tags[k]] + (k > 0 ? value("crf.transitions", tags[k - 1] * C + tags[k]) : 0), 0);
    const all: number[][] = [];
    const walk = (tags: number[]) => {
      if (tags.length === places.length) all.push(tags);
      else for (let c = 0; c < C; c++) walk([...tags, c]);
    };
    walk([]);
    const total = Math.log(all.reduce((s, tags) => s + Math.exp(score(tags)), 0));
    expect(seen.nll.data[b]).toBeCloseTo(total - score(places.map((t) => gold[b * S + t])), 8);
    const best = all.reduce((a, c) => (score(c) > score(a) ? c : a));
    expect(places.map((t) => seen.best.data[b * S + t])).toEqual(best);
    for (const [k, t] of places.entries())
      for (let c = 0; c < C; c++) {
        const likely = all.filter((tags) => tags[k] === c).reduce((s, tags) => s + Math.exp(score(tags) - total), 0);
        expect(seen.marginals.data[(b * S + t) * C + c]).toBeCloseTo(likely, 8);
      }
  });
});

test("objectives over it and over labels that are not exclusive are made", () => {
  const p = project(`import { BertForTokenClassification, BertForSequenceClassification } from "std/models/bert"
import { crf_tagging } from "std/crf"
import { multi_label } from "std/objectives"
fields = { vocab_size: 13, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 12, max_position_embeddings: 20, num_labels: 3 }
model t = BertForTokenClassification(...fields)
model s = BertForSequenceClassification(...fields)
goal = crf_tagging(t, longest: 16)
train tag { objective = goal data = jsonl("x") steps = 1 sequence = 16 }
train many { objective = multi_label(s) data = jsonl("x") steps = 1 }
predict look { objective = goal data = jsonl("x") columns = ["loss", "accuracy", "decoded"] }`);
  expect(problems(p)).toEqual([]);
  expect([...p.params.keys()].filter((name) => name.includes("crf"))).toHaveLength(3);
});

const two = `import { BertForTokenClassification } from "std/models/bert"
import { crf_tagging } from "std/crf"
fields = { vocab_size: 13, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 12, max_position_embeddings: 20, num_labels: 3 }
model s = BertForTokenClassification(...fields)
model t = BertForTokenClassification(...fields)
`;
test("each has parameters of its own, which are trained, and are the same in later stages", () => {
  const p = project(`${two}
one = crf_tagging(s, longest: 16)
both = [one, crf_tagging(t, longest: 16)]
for turn in 0..2 {
  again = crf_tagging(t, longest: 16)
  train more { objective = again data = jsonl("x") steps = 1 sequence = 16 }
}
train first { objective = one data = jsonl("x") steps = 1 sequence = 16 }
train second { objective = both[1] data = jsonl("x") steps = 1 sequence = 16 }
predict look { objective = one data = jsonl("x") columns = ["decoded"] }`);
  expect(problems(p)).toEqual([]);
  const names = [...p.params.keys()].filter((name) => name.includes("crf.transitions"));
  expect(names.sort()).toEqual(["again.crf.transitions", "again_2.crf.transitions", "both.1.crf.transitions", "one.crf.transitions"]);
  const trained = p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "train" ? [a.stage] : []));
  expect(trained.map((s) => s.trained.filter((name) => name.includes("crf.transitions")))).toEqual([
    ["again.crf.transitions"],
    ["again_2.crf.transitions"],
    ["one.crf.transitions"],
    ["both.1.crf.transitions"],
  ]);
});

test("one without a name would be another in each stage", () => {
  const p = project(`${two}train { objective = crf_tagging(t, longest: 16) data = jsonl("x") steps = 1 sequence = 16 }`);
  expect(problems(p)).toEqual([expect.stringMatching(/P0801.*crf_tagging.*needs a name/)]);
});

test("tags of −100 are set aside: a row may have them where the objective looks others up", () => {
  const p = project(`import { BertForTokenClassification } from "std/models/bert"
import { crf_tagging } from "std/crf"
model t = BertForTokenClassification(vocab_size: 13, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 12, max_position_embeddings: 20, num_labels: 3)
goal = crf_tagging(t, longest: 16)
train tag { objective = goal  data = jsonl("x")  steps = 1  sequence = 16 }`);
  const [stage] = p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "train" ? [a.stage] : []));
  const bound = indexBounds(stage.step[0].graph).get("tags");
  expect(bound).toMatchObject({ below: 3 });
  expect(bound!.except).toContain(-100);
});
