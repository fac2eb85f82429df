/**
 * What moves show, written out. A row's value, its kernel and how passes treat it all follow from what it reads, so that comparing them with each other
 * would not find a wrong row.
 */
import { describe, expect, test } from "@jest/globals";
import { Builder } from "../../src/ir/build.ts";
import type { Node } from "../../src/ir/graph.ts";
import { evaluate } from "../../src/ir/interpret.ts";
import type { movement } from "../../src/ir/ops/movement.ts";
import { isPlainMove, joinedAxis, passedAxes, windowOf } from "../../src/ir/ops/moves.ts";
import { moved } from "../../src/ir/ops/reads.ts";
import { tiesOf } from "../../src/ir/ops/ties.ts";

const b = new Builder({ path: "" });
const numbers = (...shape: number[]): Node => {
  const n = shape.reduce((p, d) => p * d, 1);
  return b.make("const", [], { shape, dtype: "f32", data: Array.from({ length: n }, (_, i) => i) });
};
const shown = (n: Node): number[] => [...evaluate([n])[0].data];

const x = numbers(2, 3);
const cases: Readonly<Record<keyof typeof movement, readonly [Node, readonly number[]][]>> = {
  reshape: [[b.reshape(x, [3, 2]), [0, 1, 2, 3, 4, 5]]],
  permute: [
    [b.permute(x, [1, 0]), [0, 3, 1, 4, 2, 5]],
    [b.permute(numbers(2, 1, 3), [2, 0, 1]), [0, 3, 1, 4, 2, 5]],
  ],
  expand: [[b.expand(numbers(2, 1), [2, 2]), [0, 0, 1, 1]]],
  slice: [
    [b.slice(x, [0, 1], [2, 3]), [1, 2, 4, 5]],
    [b.slice(x, [1, 0], [2, 3], [1, 2]), [3, 5]],
    [b.slice(numbers(7), [1], [7], [2]), [1, 3, 5]],
  ],
  pad: [
    [b.pad(x, [1, 0], [0, 1], 9), [9, 9, 9, 9, 0, 1, 2, 9, 3, 4, 5, 9]],
    [b.pad(numbers(2), [0], [1]), [0, 1, 0]],
  ],
  concat: [
    [b.concat([x, numbers(2, 1)], 1), [0, 1, 2, 0, 3, 4, 5, 1]],
    [b.concat([numbers(1, 2), numbers(2, 2)], 0), [0, 1, 0, 1, 2, 3]],
  ],
};

describe("moves", () => {
  test.each(Object.entries(cases).flatMap(([op, list]) => list.map((c, i) => [`${op} ${i}`, ...c] as const)))("%s", (_, n, want) => {
    expect(shown(n)).toEqual(want);
  });

  test("places before 0, backwards, and an earlier part over a later one", () => {
    const [p, q] = [numbers(4), numbers(4)].map((n) => evaluate([n])[0]);
    const back = { parts: [{ operand: 0, axes: [{ axis: 0, step: -1, offset: 3 }], bounded: [] }] };
    expect([...moved(back, [p], [4]).data]).toEqual([3, 2, 1, 0]);
    const over = {
      parts: [
        { operand: 0, axes: [{ axis: 0, step: -1, offset: 2 }], bounded: [0] },
        { operand: 1, axes: [{ axis: 0, step: 1, offset: -2 }], bounded: [0] },
      ],
      fill: 8,
    };
    expect([...moved(over, [p, q], [7]).data]).toEqual([2, 1, 0, 1, 2, 3, 8]);
  });

  test("questions about a move are answered from what it reads", () => {
    const turned = b.permute(x, [1, 0]);
    expect(passedAxes(turned)).toEqual([[1], [0]]);
    expect(windowOf(turned)).toBeUndefined();
    const wide = b.expand(numbers(2, 1), [2, 2]);
    expect(passedAxes(wide)).toEqual([[0], [undefined]]);
    const cut = b.slice(x, [0, 1], [2, 3]);
    expect(passedAxes(cut)).toEqual([[0], "changed"]);
    expect(windowOf(cut)).toEqual({ start: [0, 1], step: [1, 1] });
    const edged = b.pad(x, [0, 1], [0, 0]);
    expect(passedAxes(edged)).toEqual([[0], "changed"]);
    expect([isPlainMove(cut), isPlainMove(edged), windowOf(edged)]).toEqual([true, false, undefined]);
    const joined = b.concat([x, numbers(2, 1)], 1);
    expect([joinedAxis(joined), joinedAxis(edged), joinedAxis(turned)]).toEqual([1, undefined, undefined]);
    expect(tiesOf(joined)).toEqual([{ result: 0, operands: [0, 0] }]);
  });
});
