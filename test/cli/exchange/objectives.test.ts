import { expect, test } from "@jest/globals";
import { openSafetensors } from "../../../src/formats/safetensors/read.ts";
import { peftc, place, SPEC } from "../support.ts";

/** An objective with parameters of its own: they shift the scores of all tokens. */
const GOAL = SPEC.replace('import { causal_lm }       from "std/objectives"', 'import { token_loss, LanguageModel } from "std/nn"')
  .replace(
    "\nmodel gpt2",
    `
module shifted(lm: LanguageModel, scale: float = 1) {
  param shift: f32[lm.config.vocab_size] = uniform(-1, 1)
  forward(input_ids: i32[B, S]) -> loss: f32[] {
    loss = token_loss(lm(input_ids).logits[:, :-1] + scale * shift, input_ids[:, 1:])
  }
}
model gpt2`,
  )
  .replace("\ntrain {", "goal = shifted(gpt2)\n\ntrain {")
  .replace("causal_lm(gpt2)", "goal")
  .replace("lr: 1e-2", "lr: 0.1");

test("what an objective trains goes with the adapter, comes back for eval, `load`, merge and convert, and is said where it has no place", async () => {
  const at = place(GOAL);
  const { code, err } = await peftc(at, ["train", "main.peft", "--output", "adapter"]);
  expect([code, err]).toEqual([0, expect.not.stringMatching(/error/)]);
  const kept = openSafetensors(at.files, "adapter/objectives.safetensors");
  expect([...kept.tensors.keys()]).toEqual(["goal.shift"]);
  expect([...openSafetensors(at.files, "adapter/adapter_model.safetensors").tensors.keys()].join()).not.toMatch(/shift/);
  expect([...openSafetensors(at.files, "adapter/checkpoint-6/objectives.safetensors").read("goal.shift")]).toEqual([
    ...kept.read("goal.shift"),
  ]);
  const evaluate = async (file: string, ...more: string[]) => {
    const found = await peftc(at, ["eval", file, "--json", ...more]);
    expect([found.code, found.err]).toEqual([0, expect.not.stringMatching(/error/)]);
    const said = found.events().find((e) => e.event === "evaluation")!;
    return { loss: said.loss as number, text: found.out + found.err };
  };
  const { loss: trained } = await evaluate("main.peft", "--adapter", "adapter/checkpoint-6");
  const own = await evaluate("main.peft", "--adapter", "adapter");
  expect(own.loss).toBe(trained);
  expect(own.text).not.toMatch(/P0698/);
  expect((await evaluate("main.peft", "--adapter", "adapter", "--set", "train.steps=7")).loss).toBe(trained);

  at.put(
    "loads.peft",
    GOAL.replace(/attach lora = .*/, 'attach lora = load("adapter") to gpt2').replace("train {", "train {\n  params = lora"),
  );
  expect((await evaluate("loads.peft")).loss).toBe(trained);
  at.put("other.peft", at.get("loads.peft").replaceAll("goal", "aim"));
  const other = await evaluate("other.peft");
  expect(other.text).toMatch(/P0698.*`goal.shift`|goal.shift.*P0698/s);
  expect(other.loss).not.toBe(trained);
  at.put("renamed.peft", GOAL.replaceAll("goal", "aim"));
  const renamed = await evaluate("renamed.peft", "--adapter", "adapter");
  expect(renamed.text).toMatch(/goal\.shift/);
  expect(renamed.text).toMatch(/aim\.shift/);

  expect((await peftc(at, ["convert", "adapter", "--to", "peftc", "--output", "ours"])).code).toBe(0);
  expect((await evaluate("main.peft", "--adapter", "ours")).loss).toBe(trained);
  expect((await peftc(at, ["merge", "main.peft", "--adapter", "adapter", "--output", "merged"])).code).toBe(0);
  expect((await evaluate("main.peft", "--adapter", "merged")).loss).toBeCloseTo(trained, 5);
  expect((await peftc(at, ["inspect", "adapter"])).out).toMatch(/of objectives: goal\.shift \[\d+\]/);
});
