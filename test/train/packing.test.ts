/** Several documents in a row, kept apart: the loss of packed rows is that of the documents one by one. */
import { describe, expect, test } from "@jest/globals";
import { peftc, place } from "../cli/support.ts";

const DOCUMENTS = ["the sea and a hill", "rain", "one road; the light", "a door", "wind and rain and light"];
const ROWS = DOCUMENTS.map((text, i) => JSON.stringify({ prompt: text.slice(0, 3), completion: text.slice(3), line: i })).join("\n");

const spec = (stages: string) => `import { GPT2LMHeadModel } from "std/models/gpt2"
import { Packed }    from "std/methods/packed"
import { causal_lm } from "std/objectives"
model plain = GPT2LMHeadModel from "models/tiny"
model apart = plain
attach packed = Packed() to apart.transformer
${stages}
`;
const evaluate = (name: string, model: string, data: string) =>
  `evaluate ${name} { objective = causal_lm(${model})  data = ${data}  sequence = 48  batch = 2 }`;

async function losses(stages: string): Promise<Record<string, number>> {
  const at = place(spec(stages));
  at.put("rows.jsonl", ROWS);
  at.put("texts.txt", DOCUMENTS.join("\n\n"));
  at.put("texts.jsonl", DOCUMENTS.map((text) => JSON.stringify({ text: `${text}<|endoftext|>` })).join("\n"));
  const { code, out, err } = await peftc(at, ["eval", "main.peft", "--json", "--device", "wasm"]);
  if (code !== 0) throw new Error(err + out);
  const events = out
    .trim()
    .split("\n")
    .map((text) => JSON.parse(text));
  return Object.fromEntries(events.filter(({ event }) => event === "evaluation").map(({ stage, loss }) => [stage, loss]));
}

describe("packing", () => {
  test("the loss of packed rows is that of the documents, for answers and for texts; a stream leaks", async () => {
    const found = await losses(
      [
        evaluate("single", "plain", 'jsonl("rows.jsonl")'),
        evaluate("inert", "apart", 'jsonl("rows.jsonl")'),
        evaluate("packed", "apart", 'jsonl("rows.jsonl", packed: "documents")'),
        evaluate("stream", "plain", 'jsonl("rows.jsonl", packed: "stream")'),
        evaluate("texts", "plain", 'jsonl("texts.jsonl")'),
        evaluate("packed_texts", "apart", 'text("texts.txt", separator: "\\n\\n", packed: "documents")'),
      ].join("\n"),
    );
    expect(found.inert).toBeCloseTo(found.single, 5);
    expect(found.packed).toBeCloseTo(found.single, 5);
    expect(found.packed_texts).toBeCloseTo(found.texts, 5);
    expect(Math.abs(found.stream - found.single)).toBeGreaterThan(1e-3);
  });
  test("rows of several documents need a model that keeps them apart", async () => {
    await expect(losses(evaluate("e", "plain", 'jsonl("rows.jsonl", packed: "documents")'))).rejects.toThrow(/P0748[\s\S]*Packed\(\)/);
  });
  test("generation is as without, once it is detached", async () => {
    const at = place(
      spec(
        'generate a { model = plain  prompts = ["the sea"]  max_tokens = 8 }\ndetach packed\ngenerate b { model = apart  prompts = ["the sea"]  max_tokens = 8 }',
      ),
    );
    const { code, out, err } = await peftc(at, ["train", "main.peft", "--json", "--device", "wasm"]);
    expect([code, err]).toEqual([0, ""]);
    const texts = out
      .trim()
      .split("\n")
      .map((text) => JSON.parse(text))
      .filter(({ event }) => event === "sample")
      .map(({ text }) => text);
    expect(texts).toHaveLength(2);
    expect(texts[0]).toBe(texts[1]);
  });
});
