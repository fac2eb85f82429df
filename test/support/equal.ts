/** Comparing what two graphs compute. */
import { expect } from "@jest/globals";
import type { Graph } from "../../src/ir/graph.ts";
import { interpret, type Supplies } from "../../src/ir/interpret.ts";
import { print } from "../../src/ir/print.ts";

/**
 * Both graphs give the same results in f64, within `tolerance` of the largest magnitude in each. Elements that are not finite in `before`
 * are left out: rewrites need not keep them.
 */
export function expectEqual(before: Graph, after: Graph, supplies: Supplies, tolerance = 1e-9): void {
  const a = interpret(before, supplies);
  const b = interpret(after, supplies);
  expect([...b.keys()]).toEqual([...a.keys()]);
  for (const [name, x] of a) {
    const y = b.get(name)!;
    expect({ dtype: y.dtype, shape: y.shape }).toEqual({ dtype: x.dtype, shape: x.shape });
    const finite = [...x.data].filter(Number.isFinite);
    const scale = finite.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-30);
    x.data.forEach((v, i) => {
      if (Number.isFinite(v) && !(Math.abs(v - y.data[i]) <= tolerance * scale))
        throw new Error(`${name}[${i}] is ${y.data[i]} instead of ${v}\n--- before\n${print(before)}\n--- after\n${print(after)}`);
    });
  }
}
