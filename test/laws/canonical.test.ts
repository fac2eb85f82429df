import { describe, expect, test } from "@jest/globals";
import { graphCost } from "../../src/ir/flops.ts";
import { type Graph, order, sizes } from "../../src/ir/graph.ts";
import { canonical } from "../../src/ir/passes/canonical.ts";
import { expand } from "../../src/ir/passes/expand.ts";
import { fold } from "../../src/ir/passes/fold.ts";
import { grad } from "../../src/ir/passes/grad.ts";
import { PassContext, runPasses } from "../../src/ir/passes/pass.ts";
import { simplify } from "../../src/ir/passes/simplify.ts";
import { print } from "../../src/ir/print.ts";
import { verify } from "../../src/ir/verify.ts";
import { cse } from "../support/cse.ts";
import { expectEqual } from "../support/equal.ts";
import { suppliesFor, TINY, trainingStep } from "../support/transformer.ts";

const run = (passes: Parameters<typeof runPasses>[0], graph: Graph) => runPasses(passes, graph, new PassContext(), { verify, print });
const nodes = (graph: Graph) => order(graph.results.map((r) => r.node));

describe("only what is read is computed", () => {
  for (const head of ["first", "indexed"] as const)
    test(`${head}: the last feed-forward runs on one position a row`, () => {
      const graph = run([expand, simplify, cse], trainingStep(TINY, { head, forwardOnly: true }));
      const better = run([canonical, simplify, cse], graph);
      expectEqual(graph, better, suppliesFor(graph));
      const wide = (g: Graph) => nodes(g).filter((n) => n.op === "dot" && n.inputs.some((x) => String(x.attrs.name).includes("mlp_proj")));
      const rows = (g: Graph) =>
        wide(g).map((n) =>
          sizes(n)
            .slice(0, -1)
            .reduce((p, d) => p * d, 1),
        );
      expect(rows(graph)).toEqual([TINY.batch * TINY.sequence, TINY.batch * TINY.sequence]);
      expect(rows(better)).toEqual([TINY.batch * TINY.sequence, TINY.batch]);
    });
  test("lm: `logits[:, :-1]` becomes a mask; nothing floating is sliced on the sequence or padded", () => {
    const better = run([expand, canonical, grad, simplify, canonical, simplify], trainingStep(TINY, {}));
    const moved = nodes(better).filter((n) => n.type.dtype === "f32" && ["slice", "pad"].includes(n.op) && sizes(n)[1] !== TINY.sequence);
    expect(moved.map((n) => n.op)).toEqual([]);
  });
  for (const head of ["lm", "first", "indexed"] as const)
    test(`${head}: a whole training step is the same and costs less`, () => {
      const plain = run([expand, grad, simplify, fold, cse], trainingStep(TINY, { head }));
      const better = run([expand, canonical, grad, simplify, fold, cse, canonical, simplify, cse], trainingStep(TINY, { head }));
      expectEqual(plain, better, suppliesFor(plain), 1e-7);
      const [a, c] = [graphCost(plain).total.products, graphCost(better).total.products];
      // Without its slice the head computes, and differentiates, one position more.
      if (head === "lm") expect(c).toBeLessThanOrEqual(a * 1.01 + 2 * TINY.batch * TINY.dim * TINY.vocab);
      else expect(c).toBeLessThan(0.8 * a);
    });
});
