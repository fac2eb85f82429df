/** The BERT that writes of the keyphrases' program: who looks at whom (methods-b G10), and BERT itself where nothing is written. */

import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { bools, ints, predicted, project } from "../models/support.ts";

const BERT =
  "vocab_size: 13, hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 12, max_position_embeddings: 20";
const own = readFileSync(path.resolve(import.meta.dirname, "../../specs/papers/keyphrase/prefix.peft"), "utf8");
const logits = (ids: readonly number[], written?: readonly number[]) => {
  const model =
    written === undefined
      ? `import { BertForMaskedLM } from "std/models/bert"\nmodel m = BertForMaskedLM(${BERT})`
      : `${own}\nmodel m = BertForPrefixLM(${BERT})`;
  const p = project(`${model}\npredict out { model = m  data = jsonl("x")  columns = ["logits"] }`);
  const shape = [1, ids.length];
  const given = {
    input_ids: ints(shape, ids),
    attention_mask: bools(
      shape,
      ids.map(() => 1),
    ),
  };
  const more =
    written === undefined
      ? {
          token_type_ids: ints(
            shape,
            ids.map(() => 0),
          ),
        }
      : { written: bools(shape, written) };
  const all = Array.from(
    predicted(p, { ...given, ...more }, { B: 1, S: ids.length }, (at, i) => 0.3 * Math.sin(7 * i + at.length)).logits.data,
  );
  return ids.map((_, at) => all.slice(13 * at, 13 * (at + 1)));
};
/** Which places' scores the word at `at` has a part in. */
const heard = (at: number) => {
  const [ids, written] = [
    [3, 4, 5, 6],
    [0, 0, 1, 1],
  ];
  const other = ids.map((id, i) => (i === at ? 9 : id));
  const [one, two] = [logits(ids, written), logits(other, written)];
  return one.map((row, i) => Number(row.some((x, j) => Math.abs(x - two[i][j]) > 1e-9)));
};

test("a text looks at all of itself, what is written at the text and at what was written before", () => {
  expect([heard(0), heard(1), heard(2), heard(3)]).toEqual([
    [1, 1, 1, 1],
    [1, 1, 1, 1],
    [0, 0, 1, 1],
    [0, 0, 0, 1],
  ]);
});
test("where nothing is written it is the BERT that it was made of", () => {
  const [one, two] = [logits([3, 4, 5], [0, 0, 0]), logits([3, 4, 5])];
  for (const [i, row] of one.entries()) for (const [j, x] of row.entries()) expect(x).toBeCloseTo(two[i][j], 12);
});
