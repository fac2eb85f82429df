import { describe, expect, test } from "@jest/globals";
import type { ColumnDecl } from "../../src/compiler/project.ts";
import { listColumn, numberColumn, type Table } from "../../src/formats/data/table.ts";
import { symbol } from "../../src/ir/dim.ts";
import { bindSizes, fillBatch } from "../../src/train/data/columns.ts";

const table = (rows: number[][], first: number): Table => ({
  name: "t",
  rows: rows.length,
  columns: new Map([
    ["input_ids", listColumn(rows, 0)],
    ["label", numberColumn(rows.map((_, i) => first + i))],
  ]),
});
const [B, S, M, R] = ["B", "S", "M", "R"].map(symbol);
const columns: ColumnDecl[] = [
  { name: "input_ids", dtype: "i32", shape: [B, S] },
  { name: "held_input_ids", dtype: "i32", shape: [M, R] },
  { name: "held_label", dtype: "i32", shape: [M] },
  { name: "held_mask", dtype: "i32", shape: [M, R], fallback: { kind: "constant", value: 1 } },
];

describe("a table beside another", () => {
  const both: Table = {
    ...table([[1], [2, 3], [4]], 0),
    beside: { prefix: "held_", table: table([[5, 6], [7], [8], [9]], 100), batch: 3 },
  };
  test("has sizes of its own, and as many rows as were asked for", () => {
    const sizes = bindSizes(columns, both, undefined);
    expect(Object.fromEntries(sizes)).toEqual({ S: 8, M: 3, R: 8 });
    const inputs = fillBatch(columns, both, [0, 2], sizes);
    expect([inputs.input_ids.length, inputs.held_input_ids.length, inputs.held_label.length]).toEqual([16, 24, 3]);
    expect([...inputs.held_mask]).toEqual(Array(24).fill(1));
    // rows stay together, and none comes twice while there are enough
    const first = { 100: 5, 101: 7, 102: 8, 103: 9 } as Record<number, number>;
    const labels = [...inputs.held_label];
    expect(new Set(labels).size).toBe(3);
    labels.forEach((label, i) => expect(inputs.held_input_ids[i * 8]).toBe(first[label]));
    expect([...fillBatch(columns, both, [0, 2], sizes).held_label]).toEqual(labels);
  });
  test("differs from batch to batch", () => {
    const sizes = bindSizes(columns, both, undefined);
    const seen = new Set([[0], [1], [2], [0, 1], [1, 2]].map((rows) => [...fillBatch(columns, both, rows, sizes).held_label].join()));
    expect(seen.size).toBeGreaterThan(2);
  });
});

test("numbers serve where rows of one number are wanted, and of no more", () => {
  const numbers = table([[1], [2], [3]], 0);
  const wanting = (width: number): ColumnDecl[] => [{ name: "label", dtype: "f32", shape: [B, width] }];
  expect([...fillBatch(wanting(1), numbers, [2, 0], bindSizes(wanting(1), numbers, undefined)).label]).toEqual([2, 0]);
  expect(() => bindSizes(wanting(2), numbers, undefined)).toThrow(/`label` of t has rows with no axis/);
});

test("scores of classes are as many as they are, whatever rows of tokens are padded to", () => {
  const scores: Table = {
    ...table([[1], [2, 3]], 0),
    columns: new Map([
      ...table([[1], [2, 3]], 0).columns,
      [
        "scores",
        listColumn(
          [
            [1, 2, 3],
            [4, 5, 6],
          ],
          0,
        ),
      ],
    ]),
  };
  const asked: ColumnDecl[] = [columns[0], { name: "scores", dtype: "f32", shape: [B, R] }];
  expect(Object.fromEntries(bindSizes(asked, scores, undefined))).toEqual({ S: 8, R: 3 });
  expect(Object.fromEntries(bindSizes(asked, scores, 64))).toEqual({ S: 64, R: 3 });
});

test("a list where one number is wanted is refused, as is the other way round", () => {
  const lists: Table = { name: "t", rows: 1, columns: new Map([["label", listColumn([[0, 1]], 0)]]) };
  expect(() => bindSizes([{ name: "label", dtype: "i32", shape: [B] }], lists, undefined)).toThrow(
    /`label` of t has rows with one axis, where the objective wants \[B\]/,
  );
  expect(() => bindSizes([{ name: "label", dtype: "i32", shape: [B, S] }], table([[1]], 0), undefined)).toThrow(/wants \[B, S\]/);
});
