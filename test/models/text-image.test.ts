/** Texts beside pictures: what the two objectives say, written out, and where CLIP reads a text. */
import { expect, test } from "@jest/globals";
import { bools, floats, ints, predicted, problems, project } from "./support.ts";

const scores = [0.5, -1, 2, 0.25, 3, -2, 1, 0, -0.5];
const at = (i: number, j: number) => scores[3 * i + j];
/** Scores as they are given, whatever is read. */
const fixed = (objective: string) => `import { ${objective} } from "std/objectives"
import { TextAndImage } from "std/nn"
module Fixed() as TextAndImage {
  forward(input_ids: i32[B, S], attention_mask: bool[B, S] = true, pixel_values: f32[A, 1, 1, N]) -> logits_per_text: f32[B, A] {
    logits_per_text = pixel_values[:, 0, 0].T[input_ids[:, 0]]
  }
}
model m = Fixed()
predict look { objective = ${objective}(m) data = jsonl("x") columns = ["loss", "accuracy"] }`;

const nll = (row: readonly number[], i: number) => Math.log(row.reduce((s, x) => s + Math.exp(x), 0)) - row[i];
const sum = (f: (i: number) => number) => f(0) + f(1) + f(2);
test.each([
  ["image_text", sum((i) => nll([at(i, 0), at(i, 1), at(i, 2)], i) + nll([at(0, i), at(1, i), at(2, i)], i)) / 6],
  ["image_text_pairs", sum((i) => sum((j) => Math.log(1 + Math.exp(i === j ? -at(i, j) : at(i, j))))) / 3],
])("%s", (objective, wanted) => {
  const p = project(fixed(objective));
  expect(problems(p)).toEqual([]);
  // picture j holds its scores with all texts
  const pixels = [0, 1, 2].flatMap((j) => [at(0, j), at(1, j), at(2, j)]);
  const { loss, accuracy } = predicted(
    p,
    { input_ids: ints([3, 1], [0, 1, 2]), attention_mask: bools([3, 1], [1, 1, 1]), pixel_values: floats([3, 1, 1, 3], pixels) },
    { B: 3, S: 1, A: 3, N: 3, C: 1, H: 1, W: 3 },
  );
  expect(loss.data[0]).toBeCloseTo(wanted, 12);
  expect(accuracy.data[0]).toBeCloseTo(1 / 3, 12);
});

test("CLIP reads a text at its first end, or, as in the first files, at its largest id; what follows the end has no part in it", () => {
  const tower = { hidden_size: 8, intermediate_size: 12, num_hidden_layers: 1, num_attention_heads: 2 };
  const scored = (eos: number, ids: readonly number[]) => {
    const p = project(
      `import { CLIPModel } from "std/models/clip"
model m = CLIPModel from "c"
predict look { model = m data = jsonl("x") columns = ["logits_per_text"] }`,
      {
        c: {
          projection_dim: 4,
          text_config: { ...tower, vocab_size: 13, max_position_embeddings: 6, eos_token_id: eos },
          vision_config: { ...tower, image_size: 5, patch_size: 2, num_channels: 1 },
        } as never,
      },
    );
    expect(problems(p)).toEqual([]);
    const inputs = {
      input_ids: ints([1, 5], ids),
      attention_mask: bools([1, 5], [1, 1, 1, 1, 1]),
      pixel_values: floats(
        [1, 1, 5, 5],
        Array.from({ length: 25 }, (_, i) => i / 25),
      ),
    };
    return predicted(p, inputs, { B: 1, S: 5, A: 1 }).logits_per_text.data[0];
  };
  const one = scored(9, [1, 4, 9, 0, 0]);
  expect(scored(9, [1, 4, 9, 7, 9])).toBe(one);
  expect(scored(2, [1, 4, 9, 2, 2])).toBe(one);
  expect(scored(9, [1, 5, 9, 0, 0])).not.toBe(one);
  expect(scored(2, [1, 4, 9, 12, 2])).not.toBe(one);
});
