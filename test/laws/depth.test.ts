/** Layers that are alike go through the passes once. */
import { describe, expect, test } from "@jest/globals";
import type { TargetOptions } from "../../src/backends/backend.ts";
import { compileProgram } from "../../src/backends/compile.ts";
import { SharedKernels } from "../../src/backends/kernels/shared.ts";
import { Builder } from "../../src/ir/build.ts";
import { shorten } from "../../src/ir/depth/shorten.ts";
import { type Graph, order } from "../../src/ir/graph.ts";
import type { Pass } from "../../src/ir/passes/pass.ts";
import { type CompileOptions, compileGraph, pipeline } from "../../src/ir/pipeline.ts";
import { rebuildHalves, remadeOn, Scope } from "../../src/ir/rewrite.ts";
import { stackStep } from "../support/reversible.ts";
import { TINY, trainingStep } from "../support/transformer.ts";

const target: TargetOptions = { target: "wasm", arithmetic: "plain", workers: 1 };
const beforeCut = pipeline.slice(
  0,
  pipeline.findIndex((p) => p.name === "cut"),
);

/** The passes before the cut, and how many nodes they saw together. */
function counted(graph: Graph, options: CompileOptions = {}): { graph: Graph; visits: number } {
  let visits = 0;
  const passes = beforeCut.map(
    (p): Pass => ({
      ...p,
      run(g, context) {
        visits += order(g.results.map((r) => r.node)).length;
        return p.run(g, context);
      },
    }),
  );
  return { graph: compileGraph(graph, { ...options, passes }).graph, visits };
}

/** Whether the two compute all results by the same operations of the same operands. */
function same(a: Graph, b: Graph): boolean {
  const scope = new Scope();
  const settled = (g: Graph): string[] => {
    const roots = rebuildHalves(
      g.results.map((r) => r.node),
      (n, inputs) => scope.intern(remadeOn(n, inputs)),
    );
    return g.results.map((r, i) => `${r.role} ${r.name} ${roots[i].id} ${roots[i].backward} ${r.forward}`);
  };
  return settled(a).join("\n") === settled(b).join("\n");
}

const deep = (layers: number): Graph => trainingStep({ ...TINY, layers });

describe("what passes make of equal layers", () => {
  const programs: readonly [string, Graph, CompileOptions][] = [
    ["LoRA", deep(14), {}],
    ["LoRA in the weight", trainingStep({ ...TINY, layers: 14 }, { method: "weight" }), {}],
    ["an evaluation", trainingStep({ ...TINY, layers: 14 }, { forwardOnly: true }), {}],
    ["coupled streams with dropout", stackStep({ kind: 3, layers: 14, dropout: 0.1 }), {}],
    ["streams rebuilt to the bit", stackStep({ kind: 3, layers: 14 }), { options: { reverse: "exact" } }],
  ];
  for (const [name, graph, options] of programs)
    test(`${name}: is what they make of each by itself`, () => {
      const short = counted(graph, options);
      const whole = counted(graph, { ...options, apart: true });
      expect(short.visits).toBeLessThan(0.9 * whole.visits);
      expect(same(short.graph, whole.graph)).toBe(true);
    });

  test("in slices, with a key of dropout in each layer: is looked for once", () => {
    const graph = trainingStep({ ...TINY, layers: 14, sequence: 24 }, { dropout: 0.1 });
    const options = { options: { slice: 2000 } };
    const short = counted(graph, options);
    expect(order(short.graph.results.map((r) => r.node)).filter((n) => n.loop?.sliced).length).toBeGreaterThan(14);
    expect(short.visits).toBeLessThan(0.9 * counted(graph, { ...options, apart: true }).visits);
  });

  test("takes as many nodes at any depth", () => {
    expect(counted(deep(20)).visits).toBe(counted(deep(14)).visits);
  });

  test("says which layers it looked at", () => {
    const { notes } = compileGraph(deep(14), { passes: beforeCut });
    expect(notes.map((n) => n.text).join("\n")).toMatch(/with \d+ of 14 layers, the others are alike/);
    expect(
      compileGraph(deep(14), { passes: beforeCut, apart: true })
        .notes.map((n) => n.text)
        .join("\n"),
    ).not.toMatch(/alike/);
  });
});

describe("layers that are not alike", () => {
  /** Each layer scales by a number of its own, and adds. */
  const scaled = (
    factors: readonly number[],
    last = (x: readonly ReturnType<Builder["input"]>[], b: Builder) => x[x.length - 1] ?? b.constant(0),
  ): Graph => {
    const top = new Builder({ path: "" });
    let x = top.input("x", { dtype: "f32", shape: [4] });
    const all = factors.map((f, iteration) => {
      const b = new Builder({ path: `h.${iteration}`, iteration: { loop: "h", iteration, of: factors.length } });
      x = b.add(b.unary("tanh", b.mul(x, b.param(`h.${iteration}.w`, [4]))), b.mul(x, b.constant(f)));
      return x;
    });
    return { results: [{ role: "output", name: "y", node: last(all, top) }] };
  };
  const equal = Array.from({ length: 16 }, () => 0.5);

  test("stay as they are where only the gap would hide it", () => {
    expect(shorten(scaled(equal))).toBeDefined();
    expect(shorten(scaled(equal.map((f, i) => (i === 8 ? 0.25 : f))))).toBeUndefined();
  });

  test("keep numbers of their own", () => {
    const graph = scaled(equal.map((_, i) => 1 / (i + 2)));
    expect(same(counted(graph).graph, counted(graph, { apart: true }).graph)).toBe(true);
  });

  test("stay where something reads all of them", () => {
    const mean = scaled(equal, (all, b) => b.concat([...all], 0));
    expect(shorten(mean)).toBeUndefined();
  });

  test("stay where passes treat them differently", () => {
    const odd: Pass = {
      name: "odd",
      before: "",
      after: "",
      law: "",
      run: (g) => ({
        results: g.results.map((r) => ({
          ...r,
          node: rebuildHalves([r.node], (n, inputs) => {
            const b = new Builder(n.origin);
            return n.op === "param" && /[02468]\.w/.test(String(n.attrs.name)) ? b.unary("neg", b.unary("neg", n)) : remadeOn(n, inputs);
          })[0],
        })),
      }),
    };
    const graph = scaled(equal);
    const made = compileGraph(graph, { passes: [odd] }).graph;
    expect(same(made, compileGraph(graph, { passes: [odd], apart: true }).graph)).toBe(true);
    expect(order(made.results.map((r) => r.node)).filter((n) => n.op === "neg")).toHaveLength(16);
  });
});

describe("kernels of equal structure", () => {
  const built = async (layers: number) => {
    const { graph, scalars } = compileGraph(deep(layers));
    const shared = new SharedKernels();
    const entry = { name: "step", graph, scalars };
    const { program } = await compileProgram([entry], target, true, shared);
    const first = shared.built;
    await compileProgram([entry], target, true, shared);
    return { built: first, again: shared.built - first, printed: program.kernels.length, steps: program.entries[0].steps.length };
  };

  test("are built and printed once, at any depth, and not again for another plan", async () => {
    const [less, more] = [await built(12), await built(17)];
    expect(more.steps).toBeGreaterThan(1.3 * less.steps);
    expect(more.built).toBe(less.built);
    expect(more.printed).toBe(less.printed);
    expect(more.again).toBe(0);
  });

  test("of a sum over all layers are the same, whichever layer they begin at", async () => {
    const b = new Builder({ path: "" });
    const printed = async (layers: number): Promise<number> => {
      const squares = Array.from({ length: layers }, (_, l) =>
        [8, 8, 16, 16, 32, 8, 16, 32].map((size, i) => b.param(`h.${l}.${i}`, [size])),
      ).flat();
      const sums = squares.map((p) => b.reduce("sum", b.mul(p, p)));
      const node = b.unary(
        "sqrt",
        sums.reduce((x, y) => b.add(x, y)),
      );
      const graph: Graph = { results: [{ role: "output", name: "norm", node }] };
      // what is updated is not computed once at loading
      const updates = squares.map((p) => ({ role: "param" as const, name: String(p.attrs.name), node: b.mul(p, 0.5) }));
      const entry = { name: "norm", graph: { results: [...graph.results, ...updates] } };
      return (await compileProgram([entry], target, true)).program.kernels.length;
    };
    expect(await printed(24)).toBe(await printed(12));
  });
});
