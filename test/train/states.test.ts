/** States that act when a model is used outlive training: later stages, `eval`, and an adapter's folder have them. */
import { expect, test } from "@jest/globals";
import { type Outcome, peftc, place, SPEC } from "../cli/support.ts";

const spec = (method: string, rest: string) =>
  SPEC.replace("LoRA(rank: 4, alpha: 8, dropout: 0.1)", method)
    .replace(
      'import { LoRA }            from "std/methods/lora"',
      'import { DeltaLoRA } from "std/methods/lora"\nimport { IncreLoRA } from "std/methods/adalora"',
    )
    .replace(/generate \{.*\}\n/, rest);
const look = 'predict look { model = gpt2  data = text("corpus.txt")  sequence = 16  batch = 4  columns = ["logits"]  reduce = "mean" }\n';
const lastLoss = (outcome: Outcome): unknown => {
  if (outcome.code !== 0) throw new Error(outcome.err + outcome.out);
  const evaluations = outcome.events().filter((e) => e.event === "evaluation");
  expect(evaluations.length).toBeGreaterThan(0);
  return evaluations.at(-1)!.loss;
};

test.each(["DeltaLoRA(rank: 2, follow: 50)", "IncreLoRA(target: 3, top: 1, warmup: 1, every: 1)"])("%s", async (method) => {
  const at = place(spec(method, look));
  const trained = await peftc(at, ["train", "main.peft", "--json", "--device", "wasm"]);
  const loss = lastLoss(trained);
  expect(loss).toEqual(expect.any(Number));
  // the newest run, then the adapter's folder
  expect(lastLoss(await peftc(at, ["eval", "main.peft", "--json", "--device", "wasm"]))).toBe(loss);
  expect(lastLoss(await peftc(at, ["eval", "main.peft", "--json", "--device", "wasm", "--adapter", "runs/main/train"]))).toBe(loss);
  // loaded by a program
  at.put(
    "loaded.peft",
    `import { GPT2LMHeadModel } from "std/models/gpt2"
import { causal_lm } from "std/objectives"
model gpt2 = GPT2LMHeadModel from "models/tiny"
attach lora = load("runs/main/train") to gpt2
evaluate { objective = causal_lm(gpt2)  data = text("corpus.txt", split: 0.9).held  sequence = 16  batch = 4 }
`,
  );
  expect(lastLoss(await peftc(at, ["train", "loaded.peft", "--json", "--device", "wasm"]))).toBe(loss);
  const config = JSON.parse(at.get("runs/main/train/adapter_config.json")) as {
    peft_type: string;
    parts: { sites: { states: object }[] }[];
  };
  expect(config.peft_type).toBe("PEFTC");
  expect(Object.keys(config.parts[0].sites[0].states).length).toBeGreaterThan(0);
});
