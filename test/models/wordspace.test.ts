/** Invertible adapters: where words leave the model, what was done where they entered is undone. */
import { expect, test } from "@jest/globals";
import { ints, predicted, problems, project } from "./support.ts";

const models = {
  "std/models/gpt2": "GPT2LMHeadModel(vocab_size: 13, n_embd: 7, n_layer: 1, n_head: 1, n_positions: 8)",
  "std/models/llama":
    "LlamaForCausalLM(vocab_size: 13, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 1, num_attention_heads: 2)",
};
const value = (path: string, i: number) => 0.5 * Math.cos(path.length * 3 + 2 * i);

test.each(Object.entries(models))("%s", (file, module) => {
  // words go straight from where they enter to where they leave
  const logits = (attached: string) => {
    const p = project(`import { ${module.slice(0, module.indexOf("("))} } from "${file}"
import { WordSpace } from "std/nn"
import { Invertible, InvertibleGlow } from "std/methods/invertible"
method Straight() on WordSpace { leaving := entered }
model m = ${module}
${attached}
predict look { model = m data = jsonl("x") columns = ["logits"] }`);
    expect(problems(p)).toEqual([]);
    return [...predicted(p, { input_ids: ints([1, 4], [1, 5, 2, 12]) }, { B: 1, S: 4 }, value).logits.data].map(Number);
  };
  const straight = "attach s = Straight() to m";
  const plain = logits(straight);
  for (const method of ["Invertible", "InvertibleGlow"]) {
    const undone = logits(`${straight} attach i = ${method}() to m`);
    undone.forEach((x, i) => expect(x).toBeCloseTo(plain[i], 9));
    const kept = logits(`${straight} attach i = ${method}(inverse: false) to m`);
    expect(Math.max(...kept.map((x, i) => Math.abs(x - plain[i])))).toBeGreaterThan(1e-3);
  }
});
