/** Rows that are tokens already, with what other tools put beside them. */
import { describe, expect, test } from "@jest/globals";
import { makeTable } from "../../src/formats/data/make.ts";
import type { TableSpec } from "../../src/ground/table.ts";
import { refusal } from "../support/refusal.ts";
import { rows, wordFiles } from "./words.ts";

const table = (...lines: readonly object[]) => {
  const files = wordFiles({ "x.jsonl": lines.map((line) => JSON.stringify(line)).join("\n") });
  const spec = { make: "jsonl", args: ["x.jsonl"], options: {}, part: "main" } as unknown as TableSpec;
  return makeTable(spec, { files, tokenizer: "m", sequence: undefined })!;
};
const ids = { input_ids: [5, 6, 7] };

describe("masks that say what is learnt", () => {
  test("become labels, all of them together", () => {
    for (const name of ["completion_mask", "assistant_masks", "loss_mask"]) {
      const made = table({ ...ids, [name]: [0, 1, 1] });
      expect([rows(made, "labels"), made.unread]).toEqual([[[-100, 6, 7]], undefined]);
    }
    expect(rows(table({ ...ids, completion_mask: [0, 1, 1], assistant_masks: [1, 1, 0] }), "labels")).toEqual([[-100, 6, -100]]);
  });
  test("labels go before them; of another length or kind they are refused", () => {
    expect(rows(table({ ...ids, labels: [5, -100, 7], loss_mask: [0, 0, 1] }), "labels")).toEqual([[5, -100, 7]]);
    expect(refusal(() => table({ ...ids, loss_mask: [0, 1] }))).toMatch(
      /^P0709.*`loss_mask` has 2 numbers where 0 or 1 for each of 3 tokens/,
    );
    expect(refusal(() => table({ ...ids, loss_mask: [0, 1, 0.5] }))).toMatch(/^P0709.*`loss_mask`/);
  });
});

test("places and lengths of several texts in one row are refused; of one text they say nothing", () => {
  expect(refusal(() => table({ ...ids, position_ids: [0, 1, 0] }))).toMatch(
    /^P0735.*`position_ids` is that of several texts[\s\S]*packed: "documents"/,
  );
  expect(refusal(() => table(ids, { ...ids, seq_lengths: [2, 1] }))).toMatch(/^P0735.*line 2: `seq_lengths`/);
  expect(rows(table({ ...ids, position_ids: [0, 1, 2], seq_lengths: [3] }), "input_ids")).toEqual([[5, 6, 7]]);
  expect(rows(table({ ...ids, attention_mask: [0, 1, 1], position_ids: [1, 0, 1] }), "input_ids")).toEqual([[5, 6, 7]]);
});

test("a class may be called `labels`, as transformers calls it", () => {
  expect(rows(table({ ...ids, labels: 1 }), "label")).toEqual([[1]]);
  const made = table({ text: "the cat", labels: "yes" }, { text: "a dog", labels: "no" });
  expect([rows(made, "label"), made.unread]).toEqual([[[1], [0]], undefined]);
});
