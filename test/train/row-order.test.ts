import { describe, expect, test } from "@jest/globals";
import { permutation, RowOrder } from "../../src/train/stages/row-order.ts";

const options = { rows: [37], batch: 4, accumulate: 2, shuffle: true, seed: 3, stage: "train" };

describe("which rows an update sees", () => {
  test("an epoch holds every row of every table once, steps have one table each", () => {
    const order = new RowOrder({ ...options, rows: [37, 11] });
    expect(order.stepsPerEpoch).toBe(5 + 2);
    for (const epoch of [0, 1]) {
      const seen = [new Map<number, number>(), new Map<number, number>()];
      for (let i = 0; i < order.stepsPerEpoch; i++) {
        const update = order.step(epoch * order.stepsPerEpoch + i);
        expect(update.epoch).toBe(epoch);
        for (const row of update.batches.flat()) seen[update.table].set(row, (seen[update.table].get(row) ?? 0) + 1);
      }
      expect([...seen[0].values()]).toEqual(Array(37).fill(1));
      expect([...seen[1].values()]).toEqual(Array(11).fill(1));
    }
  });

  test("the order is new each epoch, and a function of seed and stage alone", () => {
    const rows = (over: Partial<typeof options>, step: number) => new RowOrder({ ...options, ...over }).step(step).batches.flat();
    expect(rows({}, 0)).toEqual(rows({}, 0));
    expect(rows({}, 5)).not.toEqual(rows({}, 0));
    expect(rows({ seed: 4 }, 0)).not.toEqual(rows({}, 0));
    expect(rows({ stage: "other" }, 0)).not.toEqual(rows({}, 0));
    expect(rows({ shuffle: false }, 5)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test("a later step can be asked for without the earlier ones", () => {
    const run = new RowOrder(options);
    const all = Array.from({ length: 12 }, (_, step) => run.step(step));
    expect(new RowOrder(options).step(11)).toEqual(all[11]);
    expect(run.step(2)).toEqual(all[2]);
  });

  test("batch sizes are those that occur", () => {
    expect(new RowOrder(options).batchSizes(100)).toEqual([[4, 1]]);
    expect(new RowOrder(options).batchSizes(2)).toEqual([[4]]);
    expect(new RowOrder({ ...options, rows: [3, 8] }).batchSizes(10)).toEqual([[3], [4]]);
    expect(new RowOrder(options).total(undefined, 2)).toBe(10);
    expect(new RowOrder(options).total(7, undefined)).toBe(7);
  });

  test("permutations are even", () => {
    const counts = Array.from({ length: 4 }, () => [0, 0, 0, 0]);
    for (let step = 0; step < 4000; step++) for (const [at, value] of permutation(4, [1, 2], step).entries()) counts[at][value]++;
    for (const count of counts.flat()) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});
