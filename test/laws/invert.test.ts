/** Loops run backwards give what went in, or name what prevents it. */
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { Builder, makeLoop } from "../../src/ir/build.ts";
import { type Graph, type Node, order, type Result } from "../../src/ir/graph.ts";
import { invertLoop, isBlocked, roll } from "../../src/ir/loops.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { carriedRead } from "../../src/ir/rebuild.ts";
import { verify } from "../../src/ir/verify.ts";
import { build, difference, type Program, programs, run } from "./loop-programs.ts";

const loopOf = (graph: Graph): Node | undefined => order(graph.results.map((r) => r.node)).find((n) => n.loop);
const outputs = (nodes: readonly Node[]): Graph => ({
  results: nodes.map((node, i): Result => ({ role: "output", name: `${i}`, node })),
});

/** The first iterations of a loop. */
const upTo = (loop: Node, count: number): Node =>
  makeLoop(loop.inputs, { ...loop.loop!, iterations: loop.loop!.iterations.slice(0, count) }, loop.origin);

/** Iterations of `body`, tagged as the elaborator tags them, over some carried values. */
function looped(iterations: number, start: (b: Builder) => Node[], body: (b: Builder, carried: Node[], t: number) => Node[]): Graph {
  let carried = start(new Builder({ path: "" }));
  for (let t = 0; t < iterations; t++)
    carried = body(
      new Builder({ path: `h.${t}`, iteration: { loop: "h", iteration: t, of: iterations }, span: { file: "x", start: 7, end: 9 } }),
      carried,
      t,
    );
  return outputs(carried);
}
const blocked = (graph: Graph) => {
  const inverse = invertLoop(loopOf(roll(graph))!);
  if (!isBlocked(inverse)) throw new Error("this loop can be run backwards");
  return { op: inverse.at.op, why: inverse.why, span: inverse.at.origin.span };
};

describe("a loop run backwards", () => {
  test("coupled streams give what went into every iteration", () => {
    let tried = 0;
    fc.assert(
      fc.property(programs, (random) => {
        // a factor of 0.5 a stream: what is lost on the way stays far below the tolerance
        // (with two iterations a bias that the first makes for both is a third value)
        const p: Program = { ...random, streams: true, shared: random.shared && random.kinds.length > 2 };
        const loop = loopOf(roll(outputs(build(p).carried)));
        if (!loop) return;
        // iterations of a body of their own may take both streams for one where they start
        const { carried, iterations } = loop.loop!;
        expect(carried).toBe(2);
        const first = iterations.filter(({ body }) => body === iterations[0].body).length > 1 ? 0 : 1;
        const inverse = invertLoop(loop, first);
        if (isBlocked(inverse)) throw new Error(`${inverse.at.op}: ${inverse.why}`);
        tried++;
        for (let t = first; t < iterations.length; t++) {
          const rebuilt = outputs([inverse.carriedInto(t, 0), inverse.carriedInto(t, 1)]);
          verify(rebuilt);
          const before = t === 0 ? loop.inputs.slice(0, 2) : [0, 1].map((k) => carriedRead(upTo(loop, t), k));
          const wanted = run(outputs(before));
          expect(difference(run(rebuilt), wanted)).toBeLessThan(1e-9);
          if (t === first) expect(difference(run(compileGraph(rebuilt).graph), wanted)).toBeLessThan(1e-9);
        }
      }),
      { numRuns: 40 },
    );
    expect(tried).toBeGreaterThan(25);
  });

  test("halves, signs, exponentials and moves are undone", () => {
    const start = (b: Builder) => [b.input("x", { dtype: "f32", shape: [2, 3] }), b.input("y", { dtype: "f32", shape: [2, 3] })];
    const graph = looped(3, start, (b, [x, y], t) => {
      const u = b.sub(b.unary("sin", y), b.mul(x, -0.5));
      const turned = b.permute(b.reshape(b.neg(y), [3, 2]), [1, 0]);
      return [b.div(u, 0.75), b.add(b.unary("exp", turned), b.mul(b.unary("tanh", u), b.param(`h.${t}.w`, [3])))];
    });
    const loop = loopOf(roll(graph))!;
    const inverse = invertLoop(loop);
    if (isBlocked(inverse)) throw new Error(inverse.why);
    const values = run(outputs([inverse.carriedInto(0, 0), inverse.carriedInto(0, 1)]));
    expect(difference(values, run(outputs(loop.inputs.slice(0, 2))))).toBeLessThan(1e-9);
  });
});

describe("what prevents it is named, with its place", () => {
  const one = (b: Builder) => [b.input("x", { dtype: "f32", shape: [2, 3] })];
  const span = { file: "x", start: 7, end: 9 };
  test("a residual stream", () => {
    expect(blocked(looped(3, one, (b, [x]) => [b.add(x, b.unary("tanh", x))]))).toEqual({
      op: "add",
      why: "both sides depend on what is carried in",
      span,
    });
  });
  test("an op that loses what it was given", () => {
    expect(blocked(looped(3, one, (b, [x]) => [b.max(x, 0)]))).toEqual({ op: "max", why: "max cannot be undone", span });
  });
  test("a factor that is trained, or 0", () => {
    expect(blocked(looped(3, one, (b, [x], t) => [b.mul(x, b.param(`h.${t}.w`, [3]))])).why).toBe("the factor is no static number");
    expect(blocked(looped(3, one, (b, [x], t) => [b.add(b.mul(x, 0), b.param(`h.${t}.w`, [3]))])).why).toBe("the factor is 0");
  });
});
