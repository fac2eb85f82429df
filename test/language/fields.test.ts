/** Fields of stages: checked against their table, all at once, and listed by it. */
import { describe, expect, test } from "@jest/globals";
import { pages, written } from "../../scripts/pages.ts";
import { stageFields } from "../../src/compiler/elaborate/fields.ts";
import { compileText } from "../support/compile.ts";

const HEAD = `
import { GPT2LMHeadModel } from "std/models/gpt2"
import { causal_lm } from "std/objectives"
model m = GPT2LMHeadModel(vocab_size: 11, n_positions: 16, n_embd: 8, n_layer: 1, n_head: 2)
`;
const problems = (stage: string): string[] => compileText(HEAD + stage).problems.map((p) => `${p.code} ${p.message}`);
const train = (fields: string): string => `train {
  objective = causal_lm(m)
  data = text("a.txt")
  params = m
  ${fields}
}`;

describe("fields of stages", () => {
  test("an option given the right idea in the wrong place says where it goes", () => {
    const notes = (optimizer: string, more = "") =>
      compileText(`import { adamw, cosine } from "std/training"\n${HEAD}${more}${train(`steps = 2\n  optimizer = ${optimizer}`)}`)
        .problems.filter((p) => p.code === "P0206")
        .map((p) => p.notes?.join());
    expect(notes("adamw(lr: cosine(warmup: 0.1))")).toEqual([expect.stringContaining("`schedule = …` takes such a function")]);
    expect(notes('adamw(lr: "1e-3")')).toEqual(["without quotes it is a number: 1e-3"]);
    const act = `method Act(act: fn) on GPT2LMHeadModel { }\nattach a = Act(act: "gelu") to m\n`;
    expect(notes("adamw(lr: 1e-3)", act)).toEqual(["without quotes it is what is called so: `gelu`, defined or imported in this file"]);
  });

  test("every wrong field of a stage is told at once, inner ones too", () => {
    expect(
      problems(
        train(`steps = 2.5
  batch = "8"
  clip = 0
  memory = -1
  reverse = 2
  precision = "f64"
  shuffle = 1
  evaluate = { every: "often", stop_after: -3, evry: 1 }
  checkpoint = { every: "never" }
  bacth = 3`),
      ),
    ).toEqual([
      "P0206 `steps` must be a whole number of at least 1, this is the float 2.5",
      'P0206 `batch` must be a whole number of at least 1, this is the string "8"',
      "P0206 `clip` must be a number above 0, this is the int 0",
      "P0206 `memory` must be a number above 0, this is the int -1",
      'P0206 `reverse` must be "exact", 0, or a relative error below 1, this is the int 2',
      'P0206 `precision` must be "f32" or "f16" or "bf16", this is the string "f64"',
      "P0206 `shuffle` must be true or false, this is the int 1",
      'P0206 `every` of `evaluate` must be a whole number of at least 1, this is the string "often"',
      "P0206 `stop_after` of `evaluate` must be a whole number of at least 1, this is the int -3",
      "P0203 `evaluate` has no field `evry`",
      'P0206 `every` of `checkpoint` must be a whole number of at least 1, this is the string "never"',
      "P0203 `train` has no field `bacth`",
    ]);
  });

  test("names that a stage only reads inside its graph are looked at with the rest", () => {
    expect(
      problems(`train {
  objective = causal_lm(mm)
  data = text("a.txt", splitt: 0.5)
  params = lora
  steps = 0
}`),
    ).toEqual([
      "P0201 unknown name `mm`",
      "P0203 `text` has no `splitt`",
      "P0201 unknown name `lora`",
      "P0206 `steps` must be a whole number of at least 1, this is the int 0",
    ]);
  });

  test("so are the calls in fields that are read inside the graph, and what a builtin function says of its arguments", () => {
    const stage = `import { adamw, wsd } from "std/training"
train {
  objective = causal_lm(m, foo: 1)
  data      = text("a.txt", splitt: 0.95, split: "a")
  params    = m
  optimizer = adamw(lr: "x", wieght_decay: 0.01)
  schedule  = wsd(warmupp: 20, decay: "q")
  steps     = 2
}`;
    expect(problems(stage)).toEqual([
      "P0203 `text` has no `splitt`",
      'P0205 `split` is the share that is trained on, between 0 and 1, this is the string "a"',
      "P0203 causal_lm has no `foo`",
      "P0203 adamw has no `wieght_decay`",
      'P0206 `lr` of adamw must be float, this is the string "x"',
      "P0203 `wsd` has no `warmupp`",
      'P0206 `decay` of wsd must be float, this is the string "q"',
    ]);
  });

  test("so is every wrong argument of a call", () => {
    expect(problems('model n = GPT2LMHeadModel(vocab_size: "many", n_embd: "w", heads: 2, layers: 3)')).toEqual([
      "P0203 GPT2LMHeadModel has no `heads`",
      "P0203 GPT2LMHeadModel has no `layers`",
      'P0206 `vocab_size` of GPT2Config must be int, this is the string "many"',
      'P0206 `n_embd` of GPT2Config must be int, this is the string "w"',
    ]);
  });

  test("and of a method: names it does not have, and literals of another type", () => {
    expect(
      problems(
        'import { LoRA } from "std/methods/lora"\nattach lora = LoRA(rank: "eight", alphaa: 16, dropout: true) to m.transformer.h[*].attn.c_attn',
      ),
    ).toEqual([
      "P0203 LoRA has no `alphaa`",
      'P0206 `rank` of LoRA must be int, this is the string "eight"',
      "P0206 `dropout` of LoRA must be float, this is the bool true",
    ]);
  });

  test("what is left out, or `none`, is what the table says", () => {
    const project = compileText(HEAD + train("steps = 1\n  batch = none\n  checkpoint = { every: 5 }"));
    expect(project.problems).toEqual([]);
    const [action] = project.actions.filter((a) => a.kind === "stage");
    const { batch, accumulate, seed, shuffle } = stageFields.train;
    expect(action.stage).toMatchObject({
      batch: batch.otherwise,
      accumulate: accumulate.otherwise,
      seed: seed.otherwise,
      shuffle: shuffle.otherwise,
      checkpoint: { every: 5, keep: stageFields.train.checkpoint.kind.fields!.keep.otherwise },
      evaluate: undefined,
    });
  });

  test("a whole number that a graph cannot hold is told as such", () => {
    expect(problems(train("steps = 3000000000"))).toEqual(["P0206 `steps` is 3000000000: at most 2147483647 is possible"]);
  });
});

test("the pages made of tables are up to date (npx tsx scripts/pages.ts)", () => {
  for (const [path, text] of pages()) expect([path, written(path)]).toEqual([path, text]);
});
