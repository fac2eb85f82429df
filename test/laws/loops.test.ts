import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { Builder } from "../../src/ir/build.ts";
import { type Graph, type Node, order } from "../../src/ir/graph.ts";
import { roll, unroll } from "../../src/ir/loops.ts";
import { rowOf } from "../../src/ir/ops/index.ts";
import { verify } from "../../src/ir/verify.ts";
import { build, difference, type Program, programs, run } from "./loop-programs.ts";

const plain: Program = {
  kinds: [0, 0, 0, 0, 0],
  streams: false,
  shared: false,
  inner: false,
  watched: [false, false, false, false, false],
  adapted: [false, false, false, false, false],
  constants: [0.5, 0.5, 0.5, 0.5, 0.5],
  draws: false,
  tied: false,
  untagged: false,
  trainInput: false,
};
const nodesOf = (g: Graph): Node[] => order(g.results.map((r) => r.node));
const loopsOf = (g: Graph): Node[] => nodesOf(g).filter((n) => n.loop);
const theLoop = (p: Partial<Program>): Node => {
  const loops = loopsOf(roll(build({ ...plain, ...p }).graph));
  expect(loops).toHaveLength(1);
  return loops[0];
};

describe("roll", () => {
  test("keeps every value, and so does unroll", () => {
    let rolled = 0;
    fc.assert(
      fc.property(programs, (p) => {
        const { graph } = build(p);
        const values = run(graph);
        const loops = roll(graph);
        verify(loops);
        if (loopsOf(loops).length > 0) rolled++;
        const flat = unroll(loops);
        verify(flat);
        expect(loopsOf(flat)).toHaveLength(0);
        expect(difference(run(loops), values)).toBe(0);
        expect(difference(run(flat), values)).toBe(0);
        expect(difference(run(roll(flat)), values)).toBe(0);
      }),
      { numRuns: 80 },
    );
    expect(rolled).toBeGreaterThan(50);
  });

  test("iterations of equal structure share a body; an adapter makes another", () => {
    expect(theLoop({}).loop!.bodies).toHaveLength(1);
    expect(theLoop({ adapted: [false, false, false, true, true] }).loop!.bodies).toHaveLength(2);
    expect(theLoop({ kinds: [0, 1, 0, 1, 0] }).loop!.iterations.map((t) => t.body)).toEqual([0, 1, 0, 1, 0]);
  });

  test("two streams are two carried values and one body, although both start equal", () => {
    const { loop } = theLoop({ streams: true });
    expect(loop).toMatchObject({ carried: 2 });
    expect(loop!.bodies).toHaveLength(1);
  });

  test("what all iterations share is captured, what differs is a row, equal constants are in the body", () => {
    const n = theLoop({ draws: true });
    const { iterations, carried } = n.loop!;
    const everywhere = iterations[0].args.filter((k) => iterations.every((t) => t.args.includes(k))).map((k) => n.inputs[carried + k]);
    expect(everywhere.map((x) => x.attrs.name).sort()).toEqual(["captured", "mask", "step"]);
    const rows = iterations.map((t) =>
      t.args.filter((k) => !everywhere.includes(n.inputs[carried + k])).map((k) => n.inputs[carried + k].op),
    );
    for (const row of rows) expect(row.sort()).toEqual(["const", "param"]);
    expect(new Set(iterations.flatMap((t) => t.args)).size).toBe(3 + 2 * iterations.length);
    const varied = theLoop({ constants: [0.5, 0.5, 0.75, 0.5, 0.5] });
    expect(varied.loop!.bodies).toHaveLength(1);
    expect(varied.inputs.filter((x) => x.op === "const")).toHaveLength(2);
  });

  test("a density of every iteration's activation leaves the loop as a scalar", () => {
    const watched = [true, true, true, true, true];
    const { graph } = build({ ...plain, watched });
    const loss: Graph = { results: graph.results.slice(0, 1) };
    const [n] = loopsOf(roll(loss));
    const exports = n.loop!.bodies.map((body) => body.results.slice(n.loop!.carried).map((r) => r.type.shape));
    expect(exports).toEqual([[[]]]);
  });

  test("what the first iteration computes for all stands before the loop; a value without a tag is taken in", () => {
    const n = theLoop({ shared: true, kinds: [1, 0, 0, 0, 1] });
    expect(n.inputs.filter((x) => x.op === "tanh")).toHaveLength(1);
    expect(theLoop({ untagged: true }).loop!.iterations).toHaveLength(5);
  });

  test("loops inside iterations are rolled inside the body", () => {
    const n = theLoop({ inner: true });
    const inside = n.loop!.bodies.flatMap((body) => order(body.results).filter((x) => x.loop));
    expect(inside).toHaveLength(1);
    expect(inside[0].loop!.iterations).toHaveLength(2);
  });

  test("names of iterations come back", () => {
    const flat = nodesOf(unroll(roll(build(plain).graph)));
    const paths = flat
      .filter((n) => n.origin.iteration && rowOf(n).role === "product")
      .map((n) => [n.origin.iteration!.iteration, n.origin.path]);
    expect(paths).toEqual([0, 1, 2, 3, 4].map((t) => [t, `h.${t}.mlp`]));
  });

  test("a value that jumps over an iteration leaves the loop flat", () => {
    const b0 = new Builder({ path: "" });
    const values = [b0.input("x", { dtype: "f32", shape: [2] })];
    for (let t = 0; t < 4; t++) {
      const b = b0.at({ path: `h.${t}`, iteration: { loop: "h", iteration: t, of: 4 } });
      const far = values[Math.max(0, t - 1)];
      values.push(b.add(b.mul(values[t], b.param(`w.${t}`, [2])), far));
    }
    const graph: Graph = { results: [{ role: "output", name: "y", node: values[4] }] };
    expect(loopsOf(roll(graph))).toHaveLength(0);
  });

  test("a thousand iterations take seconds, not minutes", () => {
    const b0 = new Builder({ path: "" });
    let x = b0.input("x", { dtype: "f32", shape: [2] });
    const of = 1000;
    for (let t = 0; t < of; t++) {
      const b = b0.at({ path: `h.${t}`, iteration: { loop: "h", iteration: t, of } });
      for (let k = 0; k < 10; k++) x = b.unary("tanh", b.mul(x, b.param(`h.${t}.${k}`, [2])));
    }
    const began = performance.now();
    const rolled = roll({ results: [{ role: "output", name: "x", node: x }] });
    expect(loopsOf(rolled)[0].loop!.bodies).toHaveLength(1);
    unroll(rolled);
    expect(performance.now() - began).toBeLessThan(8000);
  });
});
