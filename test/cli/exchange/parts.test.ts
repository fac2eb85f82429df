import { expect, test } from "@jest/globals";
import { peftc, place, SPEC } from "../support.ts";

test("rows of the embedding learn beside a LoRA, are saved in one folder as PEFT does, and act again when it is loaded", async () => {
  const spec = SPEC.replace("\nmodel", '\nimport { TrainableTokens } from "std/methods/trainable_tokens"\nmodel').replace(
    "\n\ntrain {",
    "\nattach rows = TrainableTokens(tokens: [5, 3]) to gpt2.transformer.wte\n\ntrain {",
  );
  const at = place(spec);
  expect((await peftc(at, ["train", "main.peft", "--output", "adapter"])).err).toMatch(/peft: yes/);
  expect(JSON.parse(at.get("adapter/adapter_config.json"))).toMatchObject({
    peft_type: "LORA",
    target_modules: ["c_attn"],
    trainable_token_indices: { wte: [5, 3] },
  });
  at.put(
    "loads.peft",
    spec
      .replace(/attach lora = .*/, 'attach a = load("adapter") to gpt2')
      .replace(/attach rows = .*/, "")
      .replace("train {", "train {\n  params = [a]"),
  );
  const loss = async (...argv: string[]) => {
    const said = await peftc(at, ["eval", ...argv, "--json"]);
    expect([said.code, said.err]).toEqual([0, expect.not.stringMatching(/error/)]);
    return said.events().find((e) => e.event === "evaluation")!.loss as number;
  };
  const trained = await loss("main.peft", "--adapter", "adapter");
  expect(await loss("loads.peft")).toBe(trained);
  // both count
  for (const part of [0, 1]) {
    at.put(
      "without.peft",
      at
        .get("loads.peft")
        .replace(/(attach a = .*)/, `$1\ndetach a[${part}]`)
        .replace("params = [a]", `params = a[${1 - part}]`),
    );
    expect(await loss("without.peft")).not.toBe(trained);
  }
  const imported = await peftc(at, ["import", "adapter", "--base", "models/tiny", "--output", "imported.peft"]);
  expect([imported.code, at.get("imported.peft")]).toEqual([0, expect.stringMatching(/TrainableTokens/)]);
});

test("an adapter without its random matrices is used where the file draws the same, and nowhere else", async () => {
  const vera = (key: number) =>
    SPEC.replace("{ LoRA }            from", "{ VeRA } from")
      .replace("methods/lora", "methods/vera")
      .replace(/LoRA\(.*?\)/, `VeRA(rank: 4, key: ${key}, save: false)`);
  const at = place(vera(3));
  expect((await peftc(at, ["train", "main.peft", "--set", "train.steps=1", "--output", "adapter"])).code).toBe(0);
  const run = async (key: number) => {
    at.put("eval.peft", vera(key));
    return peftc(at, ["eval", "eval.peft", "--adapter", "adapter"]);
  };
  const same = await run(3);
  expect([same.code, same.out]).toEqual([0, (await peftc(at, ["eval", "main.peft", "--adapter", "adapter/checkpoint-1"])).out]);
  expect((await run(4)).err).toMatch(/P0691.*`vera_A` as drawn for key = 3, `lora` has key = 4/);
});
