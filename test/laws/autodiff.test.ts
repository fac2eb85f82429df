import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { differentiate } from "../../src/ir/autodiff.ts";
import { Builder } from "../../src/ir/build.ts";
import { type Graph, Limit, type Node, order, type Result } from "../../src/ir/graph.ts";
import { evaluate, interpret } from "../../src/ir/interpret.ts";
import { roll, unroll } from "../../src/ir/loops.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { verify } from "../../src/ir/verify.ts";
import { build, difference, programs, run, withGradients } from "./loop-programs.ts";

const b = new Builder({ path: "t" });
const output = (name: string, node: Node): Result => ({ role: "output", name, node });
const graphOf = (...nodes: Node[]): Graph => ({ results: nodes.map((n, i) => output(`y${i}`, n)) });
/** Values of nodes after expansion, with numbers for the parameters. */
function values(nodes: readonly Node[], params: Record<string, readonly number[]>): number[][] {
  const g = differentiate(graphOf(...nodes));
  verify(g);
  const give = new Map(Object.entries(params).map(([k, v]): [string, Tensor] => [k, tensor("f32", v.length === 1 ? [] : [v.length], v)]));
  return [...interpret(g, { params: give }).values()].map((t) => [...t.data]);
}
const p = (name: string) => b.param(name, [3]);
const total = (x: Node) => b.reduce("sum", x);

describe("gradients of flat graphs", () => {
  test("by parameters, by values in between, by what the scalar does not depend on", () => {
    const x = p("x");
    const y = b.mul(x, x);
    const e = total(b.mul(b.mul(y, y), x)); // Σ x⁵ = Σ y²x
    const [gx, gy, gz] = values([b.grad(e, x), b.grad(e, y), b.grad(e, p("z"))], { x: [1, 2, -1], z: [1, 1, 1] });
    expect(gx).toEqual([5, 80, 5]);
    expect(gy).toEqual([2, 16, -2]); // 2yx: only uses of y
    expect(gz).toEqual([0, 0, 0]);
  });

  test("of gradients, and along gradients", () => {
    const x = p("x");
    const e = total(b.mul(b.mul(x, x), x));
    const g = b.grad(e, x); // 3x²
    const h = b.grad(total(b.mul(g, g)), x); // Σ 9x⁴ → 36x³
    const along = b.jvp(g, x, g); // 6x·3x²
    const inner = b.grad(b.add(e, total(g)), x); // 3x² + 6x
    const [hv, av, iv] = values([h, along, inner], { x: [1, 2, -1] });
    expect(hv).toEqual([36, 288, -36]);
    expect(av).toEqual([18, 144, -18]);
    expect(iv).toEqual([9, 24, -3]);
  });

  test("stop at barriers, and at what is constant in steps", () => {
    const x = p("x");
    const [blocked, floored] = values([b.grad(total(b.mul(b.stopGradient(x), x)), x), b.grad(total(b.mul(b.unary("floor", x), x)), x)], {
      x: [1.5, 2.5, -1.5],
    });
    expect(blocked).toEqual([1.5, 2.5, -1.5]);
    expect(floored).toEqual([1, 2, -2]);
  });

  test("share one sweep", () => {
    const x = p("x");
    const z = p("z");
    const e = total(b.unary("exp", b.mul(x, z)));
    const g = differentiate(graphOf(b.grad(e, x), b.grad(e, z)));
    const nodes = order(g.results.map((r) => r.node));
    // exp · 1 once, then a product for each of the two.
    expect(nodes.filter((n) => n.origin.half === "backward" && n.op === "mul")).toHaveLength(3);
  });

  test("a sum of derivatives along several nodes is one walk", () => {
    const [x, z] = [p("x"), p("z")];
    const e = total(b.unary("exp", b.mul(x, z)));
    const v = b.constant(2, "f32", [3]);
    const along = b.add(b.add(b.jvp(e, x, v), b.mul(3, b.constant(1))), b.jvp(e, z, b.mul(x, v)));
    const g = differentiate(graphOf(along));
    expect(order(g.results.map((r) => r.node)).filter((n) => n.op === "exp")).toHaveLength(1);
    expect(order(g.results.map((r) => r.node)).filter((n) => n.op === "reduce_sum")).toHaveLength(1);
    const [value] = values([along], { x: [1, 0, -1], z: [0, 1, 2] });
    // Σ e^{xz}·(2z + 2x²) + 3
    expect(value[0]).toBeCloseTo(2 + 2 + Math.exp(-2) * 6 + 3, 12);
  });

  test("an op that is computed on the host refuses by name", () => {
    const m = b.param("m", [2, 2]);
    const s = b.make("svd_s", [m], { k: 1 });
    expect(() => differentiate(graphOf(b.grad(total(s), m)))).toThrow(Limit);
    expect(() => differentiate(graphOf(b.grad(total(b.stopGradient(s)), m)))).not.toThrow();
  });

  test("a row that is expanded counts operands that hang on each other once", () => {
    const x = p("x");
    const e = total(b.binary("mod", b.mul(x, 3), x)); // 3x − x·floor(3) = 0·x, slope 3 − 3
    const other = total(b.binary("mod", b.mul(x, 2.5), x)); // 2.5x − 2x
    const [zero, half] = values([b.grad(e, x), b.grad(other, x)], { x: [1.1, 2.3, 1.7] });
    for (const v of zero) expect(v).toBeCloseTo(0, 12);
    for (const v of half) expect(v).toBeCloseTo(0.5, 12);
  });
});

describe("gradients through loops", () => {
  test("are those of the flat graph, which are those of finite differences", () => {
    fc.assert(
      fc.property(programs, (program) => {
        const graph = withGradients(program);
        const flat = differentiate(graph);
        const loops = differentiate(roll(graph));
        verify(flat);
        verify(loops);
        const expected = run(flat);
        const found = run(loops);
        expect(difference(found, expected)).toBeLessThan(1e-12);
        const written = unroll(loops);
        verify(written);
        expect(difference(run(written), found)).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  test("agree with finite differences", () => {
    fc.assert(
      fc.property(programs, (program) => {
        const { graph, loss, wanted } = build(program);
        const gradients = run(differentiate({ results: wanted.map((x, i) => output(`${i}`, b.grad(loss, x))) }));
        wanted.forEach((x, i) => {
          // Along a direction of ones, moving the node itself: every reader sees it moved.
          const at = (h: number): number => {
            const moved = b.add(x, b.constant(h, "f32", x.type.shape));
            return run({ results: [output("loss", replace(graph.results[0].node, x, moved))] }).get("output:loss")!.data[0];
          };
          const slope = (8 * (at(1e-3) - at(-1e-3)) - (at(2e-3) - at(-2e-3))) / 12e-3;
          const along = gradients.get(`output:${i}`)!.data.reduce((s, v) => s + v, 0);
          expect(Math.abs(along - slope)).toBeLessThan(1e-8 * (1 + Math.abs(slope)));
        });
      }),
      { numRuns: 25 },
    );
  });

  test("of gradients, too", () => {
    fc.assert(
      fc.property(programs, (program) => {
        const { loss, wanted } = build(program);
        const first = wanted.map((x) => b.grad(loss, x));
        const norm = first.map((g) => total(b.mul(g, g))).reduce((s, g) => b.add(s, g));
        const graph: Graph = { results: wanted.map((x, i) => output(`${i}`, b.grad(norm, x))) };
        const loops = differentiate(roll(graph));
        verify(loops);
        expect(difference(run(unroll(loops)), run(differentiate(graph)))).toBeLessThan(1e-11);
      }),
      { numRuns: 25 },
    );
  });

  test("only of the iterations that matter, and nothing of what is frozen", () => {
    const built = build({
      kinds: [0, 0, 0, 0, 0, 0],
      streams: false,
      shared: false,
      inner: false,
      watched: new Array(6).fill(false),
      adapted: [false, false, false, true, true, true],
      constants: new Array(6).fill(0.5),
      draws: false,
      tied: false,
      untagged: false,
      trainInput: false,
    });
    const trained = built.wanted.filter((x) => x.attrs.name !== "captured");
    const g = differentiate(roll({ results: trained.map((x, i) => output(`${i}`, b.grad(built.loss, x))) }));
    const adjoint = order(g.results.map((r) => r.node)).find((n) => n.loop && n.origin.half === "backward")!;
    expect(adjoint.attrs.iterations).toEqual([5, 4, 3]);
    const { bodies, iterations, carried } = adjoint.loop!;
    expect(iterations.map((t) => t.body)).toEqual([0, 0, 1]);
    // No gradient of a frozen matrix, and none that flows below the lowest adapter.
    const made = bodies.map((body) => body.results.slice(carried).map((r) => r.type.shape));
    expect(made).toEqual([[[3, 1]], [[3, 1]]]);
    expect(bodies[1].results[0]).toBe(bodies[1].params[0]);
    expect(bodies[0].results[0]).not.toBe(bodies[0].params[0]);
  });

  test("the gradient of what all iterations use is a carried sum", () => {
    const built = build({
      kinds: [0, 0, 0],
      streams: false,
      shared: false,
      inner: false,
      watched: [false, false, false],
      adapted: [false, false, false],
      constants: [0.5, 0.5, 0.5],
      draws: false,
      tied: true,
      untagged: false,
      trainInput: false,
    });
    const tied = order([built.loss]).find((n) => n.attrs.name === "tied")!;
    const g = differentiate(roll({ results: [output("g", b.grad(built.loss, tied))] }));
    const { node } = g.results[0];
    expect(node.attrs.output).toBe("carried");
    expect(node.inputs[0].loop!.bodies.every((body) => body.results.length === node.inputs[0].loop!.carried)).toBe(true);
  });
});

/** `root` with `to` wherever `from` was read. */
function replace(root: Node, from: Node, to: Node): Node {
  const known = new Map<Node, Node>([[from, to]]);
  for (const n of order([root])) if (!known.has(n)) known.set(n, { ...n, inputs: n.inputs.map((i) => known.get(i)!) });
  return known.get(root)!;
}

test("a constant may be what a gradient is taken by", () => {
  const zeros = b.zeros({ dtype: "f32", shape: [3] });
  const e = total(b.mul(b.add(zeros, 2), b.add(zeros, 3)));
  const [g] = evaluate(differentiate(graphOf(b.grad(e, zeros))).results.map((r) => r.node));
  expect([...g.data]).toEqual([5, 5, 5]);
});
