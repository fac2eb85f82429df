import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Graph } from "../../src/ir/graph.ts";
import { canonical } from "../../src/ir/passes/canonical.ts";
import { expand } from "../../src/ir/passes/expand.ts";
import { fold } from "../../src/ir/passes/fold.ts";
import { type Pass, PassContext, runPasses } from "../../src/ir/passes/pass.ts";
import { simplify } from "../../src/ir/passes/simplify.ts";
import { compileGraph, pipeline } from "../../src/ir/pipeline.ts";
import { print } from "../../src/ir/print.ts";
import { verify } from "../../src/ir/verify.ts";
import { cse } from "../support/cse.ts";
import { expectEqual } from "../support/equal.ts";
import { randomGraph, supplies } from "../support/random-graph.ts";

const inspect = { verify, print };
const run = (passes: readonly Pass[], graph: Graph) => runPasses(passes, graph, new PassContext(), inspect);

describe("every pass keeps what random graphs mean", () => {
  for (const pass of [expand, simplify, fold, cse, canonical])
    test(pass.name, () => {
      fc.assert(
        fc.property(randomGraph, (graph) => expectEqual(graph, run([pass], graph), supplies)),
        { numRuns: 200 },
      );
    });
  test("all in order", () => {
    fc.assert(
      fc.property(randomGraph, (graph) => expectEqual(graph, run(pipeline, graph), supplies)),
      { numRuns: 200 },
    );
  });
});

describe("optional passes", () => {
  const optional = [...new Set(pipeline.filter((p) => p.optional).map((p) => p.name))];
  test.each(optional)("without %s a graph means the same, and the others run", (name) => {
    const seen: string[] = [];
    fc.assert(
      fc.property(randomGraph, (graph) => {
        const hooks = { without: [name], print: "*", onPrint: (pass: string) => seen.push(pass) };
        expectEqual(graph, compileGraph(graph, hooks).graph, supplies);
      }),
      { numRuns: 20 },
    );
    expect(new Set(seen)).toEqual(new Set(pipeline.map((p) => p.name).filter((n) => n !== name)));
  });
  test("what lowering needs cannot be left out", () => {
    expect(() => compileGraph({ results: [] }, { without: ["grad"] })).toThrow(/no pass grad can be left out; these can: /);
  });
});
