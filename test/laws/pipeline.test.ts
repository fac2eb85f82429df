import { describe, expect, test } from "@jest/globals";
import { Builder } from "../../src/ir/build.ts";
import { Bug, type Graph, InputError, Limit, type Node, order, sizes } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { canonical } from "../../src/ir/passes/canonical.ts";
import { expand } from "../../src/ir/passes/expand.ts";
import { fold } from "../../src/ir/passes/fold.ts";
import { grad } from "../../src/ir/passes/grad.ts";
import { type Pass, PassContext, runPasses } from "../../src/ir/passes/pass.ts";
import { products } from "../../src/ir/passes/products.ts";
import { roll } from "../../src/ir/passes/roll.ts";
import { scalars } from "../../src/ir/passes/scalars.ts";
import { simplify } from "../../src/ir/passes/simplify.ts";
import { unroll } from "../../src/ir/passes/unroll.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { print } from "../../src/ir/print.ts";
import { allNodes } from "../../src/ir/rewrite.ts";
import { verify } from "../../src/ir/verify.ts";
import { evaluateScalars } from "../../src/runtime/scalars.ts";
import { cse } from "../support/cse.ts";
import { expectEqual } from "../support/equal.ts";
import { suppliesFor, TINY, trainingStep } from "../support/transformer.ts";

const inspect = { verify, print };
const run = (passes: readonly Pass[], graph: Graph, context = new PassContext()) => runPasses(passes, graph, context, inspect);
const nodes = (graph: Graph): Node[] => order(graph.results.map((r) => r.node));
const b = new Builder({ path: "" });
const output = (...list: Node[]): Graph => ({ results: list.map((node, i) => ({ role: "output", name: `r${i}`, node })) });
const x = b.input("x", { dtype: "f32", shape: [2, 3] });

describe("a whole training step", () => {
  for (const method of ["beside", "weight", "dora"] as const)
    for (const head of ["lm", "indexed"] as const)
      test(`${method}, ${head}: the pipeline keeps what it means`, () => {
        const graph = trainingStep(TINY, { method, head });
        const meaning = run([expand, grad], graph);
        const { graph: done, scalars: code } = compileGraph(graph);
        const given = suppliesFor(meaning);
        const values = evaluateScalars(code, { step: 3, steps: 10 });
        const inputs = new Map([...(suppliesFor(meaning).inputs as Map<string, ReturnType<typeof tensor>>)]);
        for (const s of code) inputs.set(s.name, tensor(s.dtype, [], [values[s.name]]));
        expectEqual(meaning, done, { ...given, inputs }, 1e-7);
        expect(allNodes(done).length).toBeLessThan(allNodes(meaning).length);
      });
  for (const pass of [simplify, fold, cse, canonical, products])
    test(`${pass.name} goes into the bodies of loops`, () => {
      const graph = run([expand, roll, grad], trainingStep(TINY, { method: "dora" }));
      expect(nodes(graph).some((n) => n.loop)).toBe(true);
      const prepared = pass === products ? run([simplify, cse], graph) : graph;
      const done = run([pass], prepared);
      expectEqual(prepared, done, suppliesFor(prepared), 1e-7);
      expectEqual(prepared, run([unroll], done), suppliesFor(prepared), 1e-7);
    });
});

describe("what single passes owe", () => {
  test("simplify: neutral operands, chains of movement and sums of copies are gone", () => {
    const y = b.permute(b.permute(b.reshape(b.mul(b.add(x, 0), 1), [3, 2]), [1, 0]), [1, 0]);
    const copies = b.reduce("sum", b.expand(b.reshape(x, [2, 3, 1]), [2, 3, 7]), [2]);
    const graph = output(b.neg(b.neg(b.reshape(y, [2, 3]))), copies, b.sub(x, x), b.where(b.constant(true, "bool", [2, 3]), x, b.neg(x)));
    const done = run([simplify], graph);
    expect(done.results.map((r) => r.node.op)).toEqual(["input", "mul", "const", "input"]);
  });
  test("simplify: the gradient of a pick needs no pass over what it picks from", () => {
    const index = b.input("i", { dtype: "i32", shape: [2] });
    const g = b.input("g", { dtype: "f32", shape: [2] });
    const hit = b.eq(b.iota([2, 50], 1), b.reshape(index, [2, 1]));
    const graph = output(b.reduce("sum", b.where(hit, b.expand(b.reshape(g, [2, 1]), [2, 50]), 0), [1]));
    expect(nodes(run([simplify], graph)).every((n) => sizes(n).every((d) => d < 50))).toBe(true);
    for (const at of [-1, 0, 49, 50]) {
      const inputs = new Map([
        ["i", tensor("i32", [2], [at, 3])],
        ["g", tensor("f32", [2], [2.5, -1])],
      ]);
      expectEqual(graph, run([simplify], graph), { inputs });
    }
  });
  test("fold: small tables are computed, positions and large ones stay", () => {
    const small = b.pow(10_000, b.div(b.mul(-2, b.iota([8], 0)), 16));
    const large = b.unary("sin", b.cast(b.iota([5000], 0), "f32"));
    const done = run([simplify], output(small, large));
    expect(done.results.map((r) => r.node.op)).toEqual(["const", "sin"]);
  });
  test("cse: equal nodes are one, draws with other keys are not", () => {
    const step = b.input("step", { dtype: "i32", shape: [] });
    const draw = (k: number) => b.draw("uniform", [4], b.table([k, 1], [2], "i32"), step);
    const done = run([cse], output(b.add(draw(1), draw(1)), b.add(draw(1), draw(2))));
    expect(nodes(done).filter((n) => n.op === "draw").length).toBe(2);
  });
  test("cse: loops lose parameters that are unread, or twins", () => {
    const p = b.param("p", [3]);
    const q = b.param("q", [3]);
    const type = p.type;
    const params = [0, 1, 2, 3].map((i) => b.arg(i, type));
    const body = { params, results: [b.add(params[0], b.mul(params[1], params[2]))] };
    const loop = b.loop([p, q, q, p], {
      carried: 1,
      bodies: [body],
      iterations: [
        { body: 0, args: [0, 1, 2] },
        { body: 0, args: [1, 0, 2] },
      ],
    });
    const graph = output(b.carried(loop, 0));
    const done = run([cse], graph);
    const made = nodes(done).find((n) => n.loop)!;
    expect({ params: made.loop!.bodies[0].params.length, inputs: made.inputs.length }).toEqual({ params: 2, inputs: 2 });
    const given = {
      params: new Map([
        ["p", tensor("f32", [3], [1, 2, 3])],
        ["q", tensor("f32", [3], [4, 5, 6])],
      ]),
    };
    expectEqual(graph, done, given);
  });
  test("gradients by inner nodes count the uses of that node alone", () => {
    // y and z have the same value; the gradient by y must not count what z leads to.
    const y = b.add(x, 0);
    const z = b.mul(x, 1);
    const loss = b.reduce("sum", b.add(b.mul(y, 3), b.mul(z, z)));
    const done = compileGraph(output(b.grad(loss, y))).graph;
    const got = interpret(done, { inputs: new Map([["x", tensor("f32", [2, 3], [1, 2, 3, 4, 5, 6])]]) }).get("output:r0")!;
    expect([...got.data]).toEqual([3, 3, 3, 3, 3, 3]);
  });
});

describe("scalars of a step", () => {
  test("leave the graph, keep their types", () => {
    const step = b.input("step", { dtype: "i32", shape: [] });
    const other = b.input("other", { dtype: "f32", shape: [] });
    const even = b.eq(b.binary("mod", step, 2), 0);
    const lr = b.where(even, b.div(b.add(step, 1), 7), b.pow(0.9, step));
    const whole = b.mul(step, b.constant(2 ** 30, "i32"));
    const graph = run([simplify], output(b.mul(x, lr), b.add(whole, b.cast(other, "i32")), b.mul(x, other)));
    const context = new PassContext();
    const done = run([scalars], graph, context);
    expect(context.scalars.map((s) => s.dtype)).toEqual(["f32", "i32"]);
    expect(
      nodes(done)
        .filter((n) => n.op === "input")
        .map((n) => n.attrs.name)
        .sort(),
    ).toEqual(["other", "scalar/0", "scalar/1", "x"]);
    for (const at of [0, 1, 2, 3, 5]) {
      const inputs = new Map([
        ["x", tensor("f32", [2, 3], [1, 2, 3, 4, 5, 6])],
        ["step", tensor("i32", [], [at])],
        ["other", tensor("f32", [], [2.5])],
      ]);
      const values = evaluateScalars(context.scalars, { step: at });
      for (const s of context.scalars) inputs.set(s.name, tensor(s.dtype, [], [values[s.name]]));
      expectEqual(graph, done, { inputs });
    }
  });
  test("a name without a value is refused", () => {
    expect(() => evaluateScalars([{ name: "scalar/0", code: [["neg", "@step"]], dtype: "i32" }], {})).toThrow(
      "scalar/0 needs the number step",
    );
  });
});

describe("the driver", () => {
  const broken: Pass = {
    name: "broken",
    before: "",
    after: "",
    law: "",
    run: () => output({ ...x, type: { dtype: "i32", shape: [2, 3] } }),
  };
  const throwing = (error: Error): Pass => ({
    name: "throwing",
    before: "",
    after: "",
    law: "",
    run: () => {
      throw error;
    },
  });
  test("blames by name and shows the graph", () => {
    expect(() => run([cse, broken], output(x))).toThrow(/pass broken left an ill-formed graph: .*\n.*input/);
    expect(() => run([throwing(new Error("no such thing"))], output(x))).toThrow(/pass throwing failed on: no such thing/);
    expect(() => run([throwing(new Error("x"))], output(x))).toThrow(Bug);
  });
  test("lets through what is for people", () => {
    expect(() => run([throwing(new Limit("not built"))], output(x))).toThrow(Limit);
    expect(() => run([throwing(new InputError("P0680", "bad"))], output(x))).toThrow(InputError);
  });
  test("prints after a pass, stops after a pass, refuses a name it does not know", () => {
    const seen: string[] = [];
    const graph = output(b.add(x, 0));
    const { graph: done } = compileGraph(graph, {
      print: "simplify",
      onPrint: (pass, text) => seen.push(`${pass}: ${text.split("\n")[0]}`),
      stopAfter: "simplify",
    });
    expect(seen).toEqual(['simplify: %0 = input {name: "x", shape: [2, 3], dtype: "f32"} : f32[2, 3]']);
    expect(done.results[0].node.op).toBe("input");
    expect(() => compileGraph(graph, { stopAfter: "nothing" })).toThrow("there is no pass nothing");
  });
});
