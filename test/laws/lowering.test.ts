/** The passes of lowering: what graphs mean stays, and who looks sees each. What each does: `pass-texts.test.ts`. */
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { lowered, passes } from "../../src/backends/lowering.ts";
import { calls } from "../../src/backends/passes/calls.ts";
import { split } from "../../src/backends/passes/split.ts";
import { storable } from "../../src/backends/passes/storable.ts";
import { thin } from "../../src/backends/passes/thin.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { PassContext } from "../../src/ir/passes/pass.ts";
import { expectEqual } from "../support/equal.ts";
import { randomGraph, supplies } from "../support/random-graph.ts";

const b = new Builder({ path: "" });
const output = (node: Graph["results"][number]["node"], name = "y"): Graph["results"][number] => ({ role: "output", name, node });

describe("every pass of lowering keeps what random graphs mean", () => {
  for (const pass of [calls, thin, split, storable])
    test(pass.name, () => {
      const same = (graph: Graph) => expectEqual(graph, pass.run(graph, new PassContext()), supplies);
      // a result that is stored as what it is reshaped from has another shape
      const flat = ({ results }: Graph): Graph => ({
        results: results.map((r) => ({ ...r, node: b.reshape(r.node, [(r.node.type.shape as number[]).reduce((p, q) => p * q, 1)]) })),
      });
      if (pass !== storable) fc.assert(fc.property(randomGraph, same), { numRuns: 50 });
      else
        fc.assert(
          fc.property(randomGraph, (graph) => expectEqual(flat(graph), flat(pass.run(graph, new PassContext())), supplies)),
          { numRuns: 50 },
        );
    });
});

test("who looks at graphs sees each pass of lowering, and none behind the one to stop at", () => {
  const seen: string[] = [];
  const graph = { results: [output(b.unary("exp", b.param("w", [2])))] };
  const onPrint = (pass: string, text: string, of?: string) => seen.push(`${of} ${pass} ${text.split("\n").length}`);
  lowered(graph, false, { print: "*", onPrint }, "step");
  expect(seen).toEqual(["step calls 4", "step thin 4", "step split 4", "step storable 4"]);
  seen.length = 0;
  lowered(graph, false, { print: "*", onPrint, stopAfter: "thin", without: ["split"] }, "step");
  expect(seen).toEqual(["step calls 4", "step thin 4"]);
  expect(passes.map((p) => p.name)).toEqual(expect.arrayContaining(["halve", "accumulate", "grad", "hoist", "storable"]));
});
