/** What is `new`: what this file made rather than loaded, in copies too, where a gradient reaches it. */
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { compile } from "../../src/compiler/compile.ts";
import { openWorkspace } from "../../src/node/workspace.ts";
import { place } from "../cli/support.ts";

const HEAD = `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LanguageModel }   from "std/nn"
import { LoRA }            from "std/methods/lora"
import { causal_lm }       from "std/objectives"
model base = GPT2LMHeadModel from "models/tiny" except **.ln_f
`;
const TRAIN = 'data = text("corpus.txt")  sequence = 16  steps = 1 }\n';

function compiled(body: string) {
  const at = place(HEAD + body);
  const project = compile(path.join(at.folder, "main.peft"), openWorkspace(at.folder).sources);
  const stages = project.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "train" ? [a.stage] : []));
  return { problems: project.problems.map(({ code, message }) => `${code} ${message}`), stages };
}
const HEADS = ["ln_f.weight", "ln_f.bias"];
const fresh = (trained: readonly string[]) => HEADS.every((name) => trained.some((p) => p.endsWith(name)));

describe("a fresh head", () => {
  const lora = (of: string) => `attach lora = LoRA(rank: 1) to ${of}.transformer.h[*].attn.c_attn\n`;
  test("is new in a copy, and in a copy of a copy, until a stage has trained it", () => {
    const { stages, problems } = compiled(
      `model m = base  model n = m\n${lora("n")}train a { objective = causal_lm(n)  ${TRAIN}model o = n\nattach more = LoRA(rank: 2) to o.transformer.h[*].attn.c_attn\ntrain b { objective = causal_lm(o)  ${TRAIN}`,
    );
    expect(problems).toEqual([]);
    expect(fresh(stages[0].trained)).toBe(true);
    expect(fresh(stages[1].trained)).toBe(false);
  });
  test("is new where its values are taken from another model in which it is", () => {
    const { stages } = compiled(
      `model m = GPT2LMHeadModel from base except **.wte\n${lora("m")}train { objective = causal_lm(m)  ${TRAIN}`,
    );
    expect(fresh(stages[0].trained)).toBe(true);
  });
  test("that no stage trains is a warning", () => {
    const { problems } = compiled(`model m = base\n${lora("m")}train { objective = causal_lm(m)  params = lora  ${TRAIN}`);
    expect(problems).toEqual(["P0809 no stage trains `transformer.ln_f.weight`, `transformer.ln_f.bias` of `m`, which start afresh"]);
  });
});

test("whether answers are texts of their own follows from the model's class, not from a folder's flag", () => {
  const { stages, problems } = compiled(`import { T5ForConditionalGeneration } from "std/models/t5"
import { seq2seq } from "std/objectives"
model t5 = T5ForConditionalGeneration(vocab_size: 257, d_model: 8, d_kv: 4, d_ff: 16, num_layers: 1, num_heads: 2, tokenizer: tokenizer("models/tiny"))
train { objective = seq2seq(t5)  data = jsonl("rows.jsonl", input: "{a}", target: "{b}")  steps = 1 }
model m = base
train { objective = causal_lm(m)  ${TRAIN}`);
  expect(problems).toEqual([]);
  expect(stages.map(({ separate }) => separate)).toEqual([true, false]);
});

describe("what gets no gradient", () => {
  const listen = `module listen(student: LanguageModel, teacher: LanguageModel) {
  forward(input_ids: i32[B, S]) -> loss: f32[] {
    loss = mean((student(input_ids).logits - stop_gradient(eval(teacher)(input_ids).logits)) ** 2)
  }
}
model teacher = base
attach first = LoRA(rank: 1) to teacher.transformer.h[*].attn.c_attn
model student = base
attach second = LoRA(rank: 1) to student.transformer.h[*].attn.c_attn
`;
  test("is not new: a teacher is neither trained nor saved", () => {
    const { stages, problems } = compiled(`${listen}train { objective = listen(student, teacher)  ${TRAIN}`);
    expect(problems.filter((p) => !p.startsWith("P0809"))).toEqual([]);
    expect(stages[0].trained.filter((p) => /teacher|first/.test(p))).toEqual([]);
    expect(stages[0].attachments).toEqual(["second"]);
  });
  test("cannot be named as what learns", () => {
    const { problems } = compiled(`${listen}train { objective = listen(student, teacher)  params = first.**.lora_B.weight  ${TRAIN}`);
    expect(problems[0]).toMatch(/^P0808 the loss does not reach first/);
  });
  test("learns all the same where a method gives it a gradient", () => {
    const { stages } = compiled(
      `${listen}import { Linear } from "std/nn"
method Forced() on Parameter { grad := grad + 1 }
attach forced = Forced() to first.**.lora_B.weight
train { objective = listen(student, teacher)  ${TRAIN}`,
    );
    expect(stages[0].trained.filter((p) => /first/.test(p)).length).toBeGreaterThan(0);
    expect(stages[0].trained.filter((p) => /first.*lora_A/.test(p))).toEqual([]);
  });
});

test("an option stays what it was when a method was attached, whatever its name stands for later", () => {
  const site = "attn.c_attn";
  const { stages, problems } = compiled(
    `rank = 1
model m = base
attach a = LoRA(rank: rank) to m.transformer.h[*].${site}
rank = 3
model n = m
train one { objective = causal_lm(m)  ${TRAIN}train two { objective = causal_lm(n)  ${TRAIN}`,
  );
  expect(problems).toEqual([]);
  // the copy has the rank that it was copied with
  expect(stages[1].trained.length).toBe(stages[0].trained.length);
  const taken = compiled(
    `import { Pfeiffer } from "std/methods/bottleneck"
import { FeedForwardSublayer } from "std/nn"
import { ScaLearn } from "std/methods/fusion"
for i in 0..2 {
  model m = base
  attach a = Pfeiffer(size: 2) to m.**: FeedForwardSublayer
  train own { objective = causal_lm(m)  ${TRAIN}
  model n = base
  attach mix = ScaLearn([a]) to n.**: FeedForwardSublayer
  train mixed { objective = causal_lm(n)  ${TRAIN}
}
`,
  );
  expect(taken.problems).toEqual([]);
  // the second iteration's own adapter is trained in the second iteration, though an earlier attachment was given one of that name
  const [first, , second] = taken.stages;
  expect(second.trained.length).toBe(first.trained.length);
});

test("a folder of which nothing is wanted but config.json needs no weights", () => {
  const at = place(
    `import { GPT2LMHeadModel } from "std/models/gpt2"
model wide = GPT2LMHeadModel from "models/sizes" except **
require count(wide) > 0, "it has parameters"
`,
  );
  at.put("models/sizes/config.json", at.get("models/tiny/config.json"));
  const project = compile(path.join(at.folder, "main.peft"), openWorkspace(at.folder).sources);
  expect(project.problems.map(({ code, message }) => `${code} ${message}`)).toEqual([]);
});
