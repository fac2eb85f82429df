/** The pass `scaled` by itself: where a number that scales a product goes. */
import { expect, test } from "@jest/globals";
import { Builder } from "../../src/ir/build.ts";
import { type Graph, type Node, sizes } from "../../src/ir/graph.ts";
import { evaluate } from "../../src/ir/interpret.ts";
import { PassContext } from "../../src/ir/passes/pass.ts";
import { scaled } from "../../src/ir/passes/scaled.ts";
import { allNodes } from "../../src/ir/rewrite.ts";
import { suppliesFor } from "../support/transformer.ts";

const b = new Builder({ path: "" });
const x = b.param("x", [8, 32]);
const thin = b.matmul(x, b.param("A", [32, 2]));
const wide = b.matmul(thin, b.param("B", [2, 32]));
const frozen = b.matmul(x, b.param("W", [32, 32]));

/** The shapes of what is scaled, before and after; the results are checked to be equal. */
function scalings(result: Node): { readonly before: string[]; readonly after: string[] } {
  const graph: Graph = { results: [{ role: "output", name: "y", node: result }] };
  const made = scaled.run(graph, new PassContext());
  const shapes = (g: Graph) => [...allNodes(g)].filter((n) => n.op === "mul").map((n) => sizes(n).join("×"));
  const value = (g: Graph) => [...evaluate([g.results[0].node], suppliesFor(g))[0].data];
  const [now, then] = [value(made), value(graph)];
  expect(Math.max(...now.map((v, i) => Math.abs(v - then[i])))).toBeLessThan(1e-9);
  return { before: shapes(graph), after: shapes(made) };
}

test("a scaled product of a thin one scales the thin one, also as a part of a sum", () => {
  expect(scalings(b.mul(wide, 3))).toEqual({ before: ["8×32"], after: ["8×2"] });
  expect(scalings(b.add(frozen, b.mul(wide, 3)))).toEqual({ before: ["8×32"], after: ["8×2"] });
});

test("a scaled factor of a thin result scales the result", () => {
  expect(scalings(b.matmul(b.mul(x, 3), b.param("A", [32, 2])))).toEqual({ before: ["8×32"], after: ["8×2"] });
});

test("a product that others read as well, or whose factors are no smaller, stays scaled", () => {
  expect(scalings(b.add(b.mul(wide, 3), wide))).toEqual({ before: ["8×32"], after: ["8×32"] });
  expect(scalings(b.mul(frozen, 3))).toEqual({ before: ["8×32"], after: ["8×32"] });
});
