/** Words in a list, with a class for each: what taggers learn. */
import { describe, expect, test } from "@jest/globals";
import { classNames, makeTable } from "../../src/formats/data/make.ts";
import type { TableSpec } from "../../src/ground/table.ts";
import { refusal } from "../support/refusal.ts";
import { ids, rows, wordFiles } from "./words.ts";

const spec = (options: object = {}) => ({ make: "jsonl", args: ["x.jsonl"], options, part: "main" }) as unknown as TableSpec;
const given = (lines: readonly object[], options: object = {}, config: object = {}) => {
  const files = wordFiles({ "x.jsonl": lines.map((line) => JSON.stringify(line)).join("\n"), "m/config.json": config });
  const context = { files, tokenizer: "m", sequence: undefined };
  return { table: () => makeTable(spec(options), context)!, names: () => classNames(spec(options), context) };
};
const CATS = { tokens: ["the", "cat", "sat"], ner_tags: [0, 1, -100] };

describe("by the usual names of columns", () => {
  test("a list of words with one of classes", () => {
    for (const row of [CATS, { words: CATS.tokens, labels: CATS.ner_tags }, { tokens: CATS.tokens, tags: CATS.ner_tags }]) {
      const { table } = given([row]);
      expect([rows(table(), "input_ids"), rows(table(), "tags")]).toEqual([[ids("the cat sat")], [[0, 1, -100]]]);
    }
  });
  test("names are numbered by the model, by `classes`, or in their order", () => {
    const named = [{ tokens: ["the", "cat"], ner_tags: ["O", "B"] }];
    expect(rows(given(named).table(), "tags")).toEqual([[1, 0]]);
    expect(given(named).names()).toEqual([{ names: ["O", "B"], file: "x.jsonl" }]);
    expect(rows(given(named, { classes: ["O", "X", "B"] }).table(), "tags")).toEqual([[0, 2]]);
    expect(rows(given(named, {}, { id2label: { 0: "I", 1: "B", 2: "O" } }).table(), "tags")).toEqual([[2, 1]]);
  });
  test("of several lists of classes the program says which is learnt", () => {
    const both = [{ ...CATS, pos_tags: [3, 4, 5] }];
    expect(refusal(() => given(both).table())).toMatch(/^P0703[\s\S]*`ner_tags`, `pos_tags`[\s\S]*label: "ner_tags"/);
    const { table } = given(both, { label: "pos_tags" });
    expect([rows(table(), "tags"), table().unread]).toEqual([[[3, 4, 5]], ["ner_tags"]]);
  });
  test("as many classes as words, each a class", () => {
    expect(refusal(() => given([CATS, { tokens: ["the"], ner_tags: [0, 1] }]).table())).toMatch(/^P0709.*line 2.*2 classes for 1 words/);
    expect(refusal(() => given([CATS, { tokens: ["the"], ner_tags: null }]).table())).toMatch(/^P0705.*line 2/);
    expect(refusal(() => given([CATS, { tokens: ["the"], ner_tags: [[1]] }]).table())).toMatch(/^P0707.*line 2/);
    expect(refusal(() => given([CATS, { tokens: ["the", 4], ner_tags: [0, 1] }]).table())).toMatch(/^P0709.*where a word is wanted/);
  });
});

test("`input` and `label` name the columns; in another place than alone a list of words says where it may stand", () => {
  const row = { mots: ["cat", "sat on"], classes: [1, 0] };
  const { table } = given([row], { input: "{mots}", label: "classes" });
  // a word with a space in it is one word
  expect([rows(table(), "input_ids"), rows(table(), "tags")]).toEqual([[ids("cat sat on")], [[1, 0, -100]]]);
  expect(refusal(() => given([row], { input: "so: {mots}" }).table())).toMatch(
    /^P0709[\s\S]*a list of words is read alone, as in `input: "\{mots\}"`/,
  );
});
