/** Values that are no numbers, in a base: every verb names them and ends with 1. */
import { describe, expect, test } from "@jest/globals";
import { openSafetensors } from "../../src/formats/safetensors/read.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { peftc, place } from "./support.ts";

const HEAD = `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA }            from "std/methods/lora"
import { causal_lm }       from "std/objectives"
model gpt2 = GPT2LMHeadModel from "models/tiny"
`;
const rows = 'data = text("corpus.txt", split: 0.9)  sequence = 16  batch = 4';

/** The tiny model with one value of one tensor replaced. */
function damaged(spec: string, tensor: string, value: number) {
  const at = place(HEAD + spec);
  const files = new NodeFiles(at.folder);
  const store = openSafetensors(files, "models/tiny/model.safetensors");
  const tensors = [...store.tensors.values()].map(({ name, shape }) => {
    const values = Float32Array.from(store.read(name));
    if (name === tensor) values[3] = value;
    return { name, shape, dtype: "F32" as const, values: () => values };
  });
  writeSafetensors(files, "models/tiny/model.safetensors", tensors);
  return at;
}
const named = (what: string, value: string) =>
  new RegExp(
    `P0910: ${what} is (NaN|-?Infinity): \`gpt2.transformer.ln_f.bias\` \\(tensor \`transformer.ln_f.bias\` of \`models/tiny\`\\) holds ${value} \\(element 3\\)`,
  );

describe("a value of the base that is no number", () => {
  test.each([
    ["evaluate", `evaluate e { objective = causal_lm(gpt2)  ${rows} }`, "the loss of stage `e`", Number.NaN],
    ["predict", `predict p { model = gpt2  ${rows}  columns = ["logits"] }`, "`logits` of stage `p`", Number.POSITIVE_INFINITY],
    ["generate", 'generate g { model = gpt2  prompts = ["the "]  max_tokens = 2 }', "a token's score of stage `g`", Number.NaN],
    [
      "generate with beams",
      'generate g { model = gpt2  prompts = ["the "]  max_tokens = 2  beams = 2 }',
      "a token's score of stage `g`",
      Number.NaN,
    ],
  ])("%s", async (_name, spec, what, value) => {
    const { code, err } = await peftc(damaged(spec, "transformer.ln_f.bias", value), ["train", "main.peft", "--device", "reference"]);
    expect([code, err]).toEqual([1, expect.stringMatching(named(what, String(value)))]);
  });

  test("merge: what made it so, and nothing is written", async () => {
    const spec = "attach lora = LoRA(rank: 2) to gpt2.transformer.h[*].attn.c_attn\n";
    const at = damaged(spec, "transformer.h.0.attn.c_attn.weight", Number.NaN);
    const { code, err } = await peftc(at, ["merge", "main.peft", "--output", "merged", "--device", "wasm"]);
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(/P0910: the merged model is not finite: `gpt2.transformer.h.0.attn.c_attn.weight` \(tensor .* holds NaN/),
    ]);
    expect(at.has("merged")).toBe(false);
  });

  test("finite values that overflow on the way are said to be finite", async () => {
    const at = damaged(`evaluate e { objective = causal_lm(gpt2)  ${rows} }`, "transformer.ln_f.weight", 3e38);
    const { code, err } = await peftc(at, ["train", "main.peft", "--device", "reference"]);
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(/P0910: the loss of stage `e` is (NaN|Infinity)[\s\S]*its parameters are finite/),
    ]);
  });
});
