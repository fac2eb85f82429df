import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { differentiate } from "../../src/ir/autodiff.ts";
import { bind } from "../../src/ir/bind.ts";
import { Builder } from "../../src/ir/build.ts";
import { type Graph, order } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { rowOf } from "../../src/ir/ops/index.ts";
import { verify } from "../../src/ir/verify.ts";
import { graphs, SIZES, supplies } from "./graphs.ts";

const b = new Builder({ path: "" });

/** The usual numbers, moved a little: they are round, so that a sum of two is exactly 0, where one branch of a `where` holds at that point alone. */
const nearby = {
  ...supplies,
  params: new Map([...supplies.params].map(([name, t]) => [name, { ...t, data: t.data.map((v, k) => v + 1e-3 * Math.cos(3 * k + 1)) }])),
};

describe("gradients of random graphs", () => {
  test("are the slopes that finite differences give, along a direction, for each parameter", () => {
    fc.assert(
      fc.property(graphs, (drawn) => {
        const g = bind(drawn, SIZES);
        const loss = g.results[1].node;
        const params = order([loss]).filter((n) => rowOf(n).supply === "param");
        const graph: Graph = {
          results: [...g.results, ...params.map((p, i) => ({ role: "output" as const, name: `d${i}`, node: b.grad(loss, p) }))],
        };
        const expanded = differentiate(graph);
        verify(expanded);
        const found = interpret(expanded, nearby);
        const size = Math.abs(found.get("output:loss")!.data[0]);
        // Where values have grown out of all bounds, differences say nothing.
        fc.pre(size < 1e3 && [...found.get("output:y")!.data].every((v) => Math.abs(v) < 1e3));
        for (const name of new Set(params.map((p) => String(p.attrs.name)))) {
          const start = nearby.params.get(name)!;
          const along = start.data.map((_, k) => Math.sin(5 * k + 2));
          const at = (h: number) => {
            const moved = { ...start, data: start.data.map((v, k) => v + h * along[k]) };
            return interpret(g, { ...nearby, params: new Map([...nearby.params, [name, moved]]) }).get("output:loss")!.data[0];
          };
          // Several nodes may read one parameter, each with its own share.
          const shares = params.flatMap((p, i) => (p.attrs.name === name ? [found.get(`output:d${i}`)!] : []));
          const slope = shares.flatMap((t) => [...t.data].map((d, k) => d * along[k])).reduce((s, d) => s + d, 0);
          const h = 1e-6;
          // A kink between the two points shows as sides that disagree; then the gradient is one of them, or lies between.
          const [left, right] = [(at(0) - at(-h)) / h, (at(h) - at(0)) / h];
          const slack = 1e-4 * Math.max(1, Math.abs(slope), size);
          expect(slope).toBeGreaterThan(Math.min(left, right) - slack);
          expect(slope).toBeLessThan(Math.max(left, right) + slack);
        }
      }),
      { numRuns: 60 },
    );
  });
});
