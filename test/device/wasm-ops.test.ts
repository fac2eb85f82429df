/** Every row of the op table, on WebAssembly, against its meaning. */
import { describe, expect, test } from "@jest/globals";
import { compileProgram } from "../../src/backends/compile.ts";
import { Builder, make } from "../../src/ir/build.ts";
import type { Node } from "../../src/ir/graph.ts";
import { type OpName, ops, type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { tolerances } from "../tolerances.ts";
import { difference, type Given, meaning, outputs, runWasm } from "./support/run.ts";

const origin = { path: "law" };
const b = new Builder(origin);

/** A graph of one node over inputs with these values. */
function over(inputs: readonly Tensor[], build: (nodes: readonly Node[]) => Node): { node: Node; given: Given } {
  const given: Given = { params: new Map(), states: new Map(), inputs: new Map() };
  const nodes = inputs.map((t, i) => {
    given.inputs.set(`x${i}`, t);
    return make("input", [], { name: `x${i}`, shape: t.shape, dtype: t.dtype }, origin);
  });
  return { node: build(nodes), given };
}

async function differs(
  inputs: readonly Tensor[],
  build: (nodes: readonly Node[]) => Node,
  arithmetic: "plain" | "relaxed" = "plain",
): Promise<number> {
  const { node, given } = over(inputs, build);
  const graph = outputs(node);
  const seen = await runWasm(graph, given, { arithmetic });
  return difference(seen.get("output:y0")!, meaning(graph, given).get("output:y0")!);
}

const floats = (shape: readonly number[], f: (i: number) => number): Tensor =>
  tensor(
    "f32",
    shape,
    Float64Array.from({ length: shape.reduce((x, y) => x * y, 1) }, (_, i) => Math.fround(f(i))),
  );

describe("examples of the op table", () => {
  for (const [name, row] of Object.entries(ops)) {
    if (row.examples.length === 0) continue;
    // Host ops answer as the interpreter does, rounded to f32.
    const exact = row.role === "move" || row.role === "source" || row.role === "index";
    test(name, async () => {
      for (const { inputs, attrs } of row.examples) {
        const d = await differs(inputs, (nodes) => make(name as OpName, nodes, attrs, origin));
        expect(d).toBeLessThanOrEqual(exact && name !== "draw" ? tolerances.exact : tolerances.map);
      }
    });
  }
});

describe("scalar functions over their range", () => {
  const ranges = {
    exp: [-100, 88],
    log: [1e-30, 1e6],
    tanh: [-20, 20],
    erf: [-6, 6],
    sin: [-1000, 1000],
    cos: [-1000, 1000],
    sqrt: [0, 1e6],
  } as const;
  for (const arithmetic of ["plain", "relaxed"] as const)
    for (const [name, [low, high]] of Object.entries(ranges))
      test(`${name}, ${arithmetic}`, async () => {
        for (const [from, to] of [
          [low, high],
          [Math.max(low, -1), 1],
        ]) {
          const x = floats([4099], (i) => from + ((to - from) * i) / 4098);
          expect(await differs([x], ([n]) => b.unary(name as "exp", n), arithmetic)).toBeLessThanOrEqual(tolerances.map);
        }
      });

  test("1 + erf is lost to rounding alone where it is small: GELU's left tail", async () => {
    const x = floats([4099], (i) => -4.2 + (3.2 * i) / 4098);
    const { node, given } = over([x], ([n]) => b.unary("erf", n));
    const [seen, wanted] = [await runWasm(outputs(node), given), meaning(outputs(node), given)].map((r) => r.get("output:y0")!);
    const values = "data" in wanted ? wanted.data : wanted;
    const off = [...values].map((e, i) => Math.abs((seen as Float32Array)[i] - e));
    expect(Math.max(...off.filter((_, i) => x.data[i] < -2.2))).toBeLessThan(0.6 * 2 ** -24);
    expect(Math.max(...off)).toBeLessThan(2 * 2 ** -24);
  });

  test("pow keeps its digits for large exponents, and the signs of odd ones", async () => {
    const bases = [2, 2, -2, -3, 0.9999, 1.001, 3, 1, 0, 7, 0.5, 10];
    const exponents = [0.5, 20, 3, 2, 5000, 9000, -3.5, 1e6, 2, 0, -4, 6];
    for (let i = 0; i < bases.length; i++) {
      const [x, y] = [floats([1], () => bases[i]), floats([1], () => exponents[i])];
      expect(await differs([x, y], ([p, q]) => b.pow(p, q))).toBeLessThanOrEqual(tolerances.map);
    }
  });

  test("infinities and NaN", async () => {
    const x = floats([8], (i) => [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -3.4e38, 3.4e38, 0, -1e-40, 1][i]);
    for (const f of ["exp", "log", "tanh", "erf", "abs", "sign", "floor"] as const) {
      const { node, given } = over([x], ([n]) => b.unary(f, n));
      const seen = (await runWasm(outputs(node), given)).get("output:y0")!;
      const expected = meaning(outputs(node), given).get("output:y0")!;
      [...expected.data].forEach((e, i) => {
        if (Number.isNaN(e)) expect(seen[i]).toBeNaN();
        else if (Math.abs(e) > 3.4028235e38) expect(Math.abs(seen[i])).toBe(Number.POSITIVE_INFINITY);
        else expect(Math.abs(seen[i] - e)).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(e)));
      });
    }
    // NaN wins in max and min, in maps and in reductions along and across the lanes.
    const nan = floats([3, 9], (i) => (i === 10 ? Number.NaN : i));
    const out = await runWasm(
      outputs(
        b.reduce("max", b.input("x", { dtype: "f32", shape: [3, 9] }), [1]),
        b.reduce("min", b.input("x", { dtype: "f32", shape: [3, 9] }), [0]),
      ),
      { params: new Map(), states: new Map(), inputs: new Map([["x", nan]]) },
    );
    expect([...out.get("output:y0")!]).toEqual([8, Number.NaN, 26]);
    expect([...out.get("output:y1")!]).toEqual([0, Number.NaN, 2, 3, 4, 5, 6, 7, 8]);
  });
});

describe("draws", () => {
  test("bits and uniform numbers are equal to the bit; normal ones nearly", async () => {
    for (const kind of ["bits", "uniform", "normal"] as const) {
      const key = tensor("i32", [2], [123456789, -987654321]);
      const step = tensor("i32", [], [77]);
      const d = await differs([key, step], ([k, s]) => b.draw(kind, [7, 33], k, s));
      expect(d).toBeLessThanOrEqual(kind === "normal" ? tolerances.map : tolerances.exact);
    }
  });
});

test("what the printer cannot spell is refused when it is compiled, not when it runs", async () => {
  const x = b.param("x", [4]);
  const graph = outputs(b.unary("exp", x));
  const bad = { results: graph.results.map((r) => ({ ...r, node: { ...r.node, op: "nothing" } })) };
  await expect(compileProgram([{ name: "main", graph: bad }], { target: "wasm", arithmetic: "plain", workers: 1 })).rejects.toThrow(
    "there is no op",
  );
});
