/** Columns that methods ask for, given on the command line. */
import { expect, test } from "@jest/globals";
import { peftc, place } from "./support.ts";

test("generate takes columns beside a prompt", async () => {
  const at = place(`import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRABank } from "std/methods/rows"
import { normal_bank } from "./bank.peft"
model gpt2 = GPT2LMHeadModel from "models/tiny"
attach bank = normal_bank() to gpt2.transformer.h[*].attn.c_attn
generate { model = gpt2  prompts = [{ text: "the ", adapter: 0 }]  max_tokens = 6 }
`);
  at.put(
    "bank.peft",
    `import { Linear } from "std/nn"
method normal_bank() on Linear {
  input adapter: i32[B]
  param shift: f32[2, out_features] = normal(3)
  y := y + shift[remember(adapter)].reshape([B, 1, out_features])
}
`,
  );
  at.put("main.peft", at.get("main.peft").replace('import { LoRABank } from "std/methods/rows"\n', ""));
  const text = async (...argv: string[]) => peftc(at, ["generate", "main.peft", "--device", "wasm", ...argv]);
  const one = await text("--prompt", "the ", "--column", "adapter=1");
  expect([one.code, one.code === 0 ? "" : one.err]).toEqual([0, ""]);
  const zero = await text("--prompt", "the ", "--column", "adapter=0");
  expect(zero.out).not.toBe(one.out);
  // the stage's own prompt, as it is and with another column
  expect((await text()).out).toBe(zero.out);
  expect((await text("--column", "adapter=1")).out).toBe(one.out);
  expect((await text("--prompt", "the ")).err).toMatch(/P0732.*adapter/);
  expect(await text("--column", "adapter=x")).toMatchObject({ code: 2, err: expect.stringMatching(/--column adapter=x/) });
}, 120_000);
