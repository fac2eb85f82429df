/** Laws that walk the op table: each column holds for each row's examples. */
import { describe, expect, test } from "@jest/globals";
import { Builder, make, strict } from "../../src/ir/build.ts";
import type { Node } from "../../src/ir/graph.ts";
import { evaluate } from "../../src/ir/interpret.ts";
import { type Example, type Op, type OpName, ops, type Tensor } from "../../src/ir/ops/index.ts";
import { f32, i32 } from "./graphs.ts";

const b = new Builder({ path: "" });
const rows = Object.entries(ops) as [OpName, Op][];
const withExamples = rows.filter(([, row]) => row.examples.length > 0);

const constant = (t: Tensor): Node => b.make("const", [], { shape: t.shape, dtype: t.dtype, data: [...t.data] });
/** The example as a node, over operands that can be replaced. */
const instance = (op: OpName, { inputs, attrs }: Example, operands = inputs.map(constant)): Node => b.make(op, operands, attrs);
const value = (n: Node): Tensor => evaluate([n])[0];
const isFloat = (n: Node) => n.type.dtype === "f32";

describe("every row", () => {
  test("has a sentence, and examples unless its value comes from elsewhere", () => {
    for (const [name, row] of rows) {
      expect([name, row.doc.length > 2]).toEqual([name, true]);
      const elsewhere = row.supply !== undefined || row.role === "placeholder" || row.role === "region";
      expect([name, row.examples.length > 0]).toEqual([name, !elsewhere]);
    }
  });

  test.each(withExamples)("%s: the inferred type is that of the value", (name, row) => {
    for (const example of row.examples) {
      const n = instance(name, example);
      const got = row.eval(example.inputs, example.attrs, n);
      expect({ dtype: got.dtype, shape: got.shape }).toEqual({ dtype: n.type.dtype, shape: n.type.shape });
      expect(got.data.length).toBe(got.shape.reduce((p, d) => p * d, 1));
    }
  });

  test.each(withExamples)("%s: eval leaves its operands alone", (name, row) => {
    for (const example of row.examples) {
      const before = example.inputs.map((t) => [...t.data]);
      row.eval(example.inputs, example.attrs, instance(name, example));
      expect(example.inputs.map((t) => [...t.data])).toEqual(before);
    }
  });
});

describe("types", () => {
  const scalar = b.constant(1);
  test.each(withExamples.filter(([, row]) => row.examples[0].inputs.length > 0 && row.role !== "move"))(
    "%s refuses a wrong number of operands",
    (name, row) => {
      const [example] = row.examples;
      const extra = [...example.inputs.map(constant), scalar];
      expect(() => instance(name, example, extra)).toThrow(/operand/);
    },
  );

  test("a mismatch tells both types, the axis and both sizes", () => {
    const [x, y] = [b.param("x", [2, 3]), b.param("y", [2, 4])];
    expect(() => make("add", [x, y], {}, { path: "" })).toThrow(
      expect.objectContaining({ name: "TypeMismatch", detail: expect.objectContaining({ op: "add", axes: [1, 1], sizes: [3, 4] }) }),
    );
  });

  test("a solver can make sizes equal", () => {
    const [x, y] = [b.param("x", [3]), b.param("y", [4])];
    expect(make("add", [x, y], {}, { path: "" }, { equal: () => true }).type.shape).toEqual([3]);
    expect(() => make("add", [x, y], {}, { path: "" }, strict)).toThrow("3 and 4");
  });
});

describe("columns", () => {
  test.each(rows.filter(([, row]) => row.algebra?.commutative))("%s is commutative", (name, row) => {
    for (const example of row.examples) {
      const [x, y] = example.inputs.map(constant);
      expect(value(instance(name, example, [y, x])).data).toEqual(value(instance(name, example)).data);
    }
  });

  test.each(rows.filter(([, row]) => row.algebra?.identity !== undefined))("%s has the identity it says", (name, row) => {
    for (const example of row.examples) {
      const x = constant(example.inputs[0]);
      const e = b.constant(row.algebra!.identity!, x.type.dtype, x.type.shape);
      expect(value(instance(name, example, [x, e])).data).toEqual(example.inputs[0].data);
      if (row.algebra!.commutative) expect(value(instance(name, example, [e, x])).data).toEqual(example.inputs[0].data);
    }
  });

  test.each(rows.filter(([, row]) => row.algebra?.absorbing !== undefined))("%s is absorbed as it says", (name, row) => {
    for (const example of row.examples) {
      const x = constant(example.inputs[0]);
      const z = b.constant(row.algebra!.absorbing!, x.type.dtype, x.type.shape);
      expect([...value(instance(name, example, [x, z])).data].map(Math.abs)).toEqual([...value(z).data]);
    }
  });

  test.each(rows.filter(([, row]) => row.reduce))("%s: splitting and merging gives the whole", (name, row) => {
    const x = f32([6], [3, -1, 4, 1, -5, 9]);
    const part = (from: number, to: number) => b.make(name, [b.sliceAxis(constant(x), 0, from, to)], { axes: [0] });
    const merged = b.make(row.reduce!.merge, [part(0, 2), part(2, 6)]);
    expect(value(merged).data).toEqual(value(part(0, 6)).data);
    expect(value(part(0, 0)).data[0]).toBe(row.reduce!.identity);
  });

  test.each(rows.filter(([, row]) => row.sparse?.any))("%s is zero where an operand is", (name, row) => {
    for (const example of row.examples)
      for (const i of row.sparse!.any!) {
        const operands = example.inputs.map((t, j) => (j === i ? b.zeros({ dtype: t.dtype, shape: t.shape }) : constant(t)));
        expect(Math.max(...value(instance(name, example, operands)).data.map(Math.abs))).toBe(0);
      }
  });

  test.each(rows.filter(([, row]) => row.sparse?.all))("%s is zero where all operands named are", (name, row) => {
    for (const example of row.examples) {
      const zero = row.sparse!.all!;
      const operands = example.inputs.map((t, j) => (zero.includes(j) ? b.zeros({ dtype: t.dtype, shape: t.shape }) : constant(t)));
      expect(Math.max(...value(instance(name, example, operands)).data.map(Math.abs))).toBe(0);
    }
  });

  test.each(rows.filter(([, row]) => row.inStep))("%s in a step has the value it has at loading", (name, row) => {
    expect(row.role).toBe("host");
    for (const example of row.examples) {
      const n = instance(name, example);
      close(value(row.inStep!(b, n)), value(n), 1e-12);
    }
  });

  test.each(rows.filter(([, row]) => row.invert))("%s: the inverse gives the operand back", (name, row) => {
    for (const example of row.examples) {
      const n = instance(name, example);
      n.inputs.forEach((x, i) => {
        const back = row.invert!(b, n, i, constant(value(n)));
        if (!back) return;
        expect(back.type).toEqual(x.type);
        close(value(back), value(x), 1e-12);
      });
    }
  });
});

function close(got: Tensor, want: Tensor, tolerance: number): void {
  expect(got.shape).toEqual(want.shape);
  for (let i = 0; i < want.data.length; i++)
    if (!(Math.abs(got.data[i] - want.data[i]) <= tolerance * Math.max(1, Math.abs(want.data[i]))))
      throw new Error(`element ${i}: ${got.data[i]}, not ${want.data[i]}`);
}

describe("derivatives", () => {
  /** A weighted sum of the result: a scalar whose gradient shows every element of the cotangent. */
  const weights = (t: Tensor) => Float64Array.from(t.data, (_, i) => Math.cos(i + 1));
  const score = (t: Tensor) => t.data.reduce((s, x, i) => s + x * weights(t)[i], 0);

  function numeric(name: OpName, example: Example, at: number): Tensor {
    const x = example.inputs[at];
    const h = 1e-5;
    const moved = (i: number, by: number) => {
      const inputs = example.inputs.map((t, j) => (j === at ? { ...t, data: t.data.map((v, k) => (k === i ? v + by : v)) } : t));
      return score(value(instance(name, { ...example, inputs })));
    };
    return { ...x, data: Float64Array.from(x.data, (_, i) => (moved(i, h) - moved(i, -h)) / (2 * h)) };
  }

  /** The cotangents of a node's operands, whatever form its row has. */
  function cotangents(n: Node, row: Op, g: Node): (Node | undefined)[] {
    const context = { b, node: n, inputs: n.inputs, cotangent: g, wants: () => true };
    if (typeof row.vjp === "function") return [...row.vjp(context)];
    if (row.vjp === "by transpose") return [...row.transpose(context)];
    if (row.vjp === "by partials") return row.partials.map((p) => p && b.mul(g, p(b, n.inputs, n)));
    return n.inputs.map(() => undefined);
  }
  function tangent(n: Node, row: Op, tangents: (Node | undefined)[]): Node | undefined {
    const sum = (parts: (Node | undefined)[]) => parts.reduce((p, q) => (p && q ? b.add(p, q) : (p ?? q)), undefined);
    if (typeof row.vjp === "function") return row.jvp({ b, node: n, inputs: n.inputs, tangents });
    if (row.vjp === "by partials") return sum(row.partials.map((p, i) => p && tangents[i] && b.mul(tangents[i], p(b, n.inputs, n))));
    if (row.vjp !== "by transpose") return undefined;
    const groups = row.linear === "all" ? [n.inputs.map((_, i) => i)] : row.linear;
    return sum(
      groups.map((group) => {
        if (!group.some((i) => tangents[i])) return undefined;
        return b.make(
          n.op as OpName,
          n.inputs.map((x, i) => (group.includes(i) ? (tangents[i] ?? b.zeros(x.type)) : x)),
          n.attrs,
        );
      }),
    );
  }

  const smooth = rows.filter(([, row]) => row.vjp !== "zero" && row.vjp !== "refused" && row.vjp !== "by expansion");

  test.each(smooth)("%s: the cotangent is the gradient by finite differences", (name, row) => {
    for (const example of row.examples) {
      const n = instance(name, example);
      if (!isFloat(n)) continue;
      const y = value(n);
      const g = cotangents(n, row, constant({ ...y, data: weights(y) }));
      n.inputs.forEach((x, i) => {
        if (!isFloat(x)) return;
        const got = g[i] ? value(g[i]) : value(b.zeros(x.type));
        close(got, numeric(name, example, i), 1e-7);
      });
    }
  });

  test.each(smooth)("%s: the tangent agrees with the cotangent", (name, row) => {
    for (const example of row.examples) {
      const n = instance(name, example);
      if (!isFloat(n)) continue;
      const y = value(n);
      const g = cotangents(n, row, constant({ ...y, data: weights(y) }));
      n.inputs.forEach((x, i) => {
        if (!isFloat(x)) return;
        const v = example.inputs[i].data.map((_, k) => Math.sin(3 * k + 1));
        const t = tangent(
          n,
          row,
          n.inputs.map((_, j) => (j === i ? constant({ ...example.inputs[i], data: v }) : undefined)),
        );
        const left = t ? score(value(t)) : 0;
        const right = g[i] ? value(g[i]!).data.reduce((s, d, k) => s + d * v[k], 0) : 0;
        expect(left).toBeCloseTo(right, 10);
      });
    }
  });

  test.each(rows.filter(([, row]) => row.vjp === "by expansion"))("%s equals its expansion", (name, row) => {
    for (const example of row.examples) {
      const n = instance(name, example);
      const { expansion } = row;
      if (expansion && isFloat(n)) close(value(expansion(b, n)), value(n), 1e-12);
    }
  });

  const flat = rows.filter(
    ([, row]) => row.vjp === "zero" && row.role !== "barrier" && row.examples.some((e) => e.inputs.some((t) => t.dtype === "f32")),
  );
  test.each(flat)("%s has no slope", (name, row) => {
    for (const example of row.examples) {
      const n = instance(name, example);
      if (!isFloat(n)) continue;
      example.inputs.forEach((t, i) => {
        if (t.dtype === "f32") expect(Math.max(...numeric(name, example, i).data.map(Math.abs))).toBe(0);
      });
    }
  });

  const at = (op: OpName, operands: Node[], i: number): number[] => {
    const n = b.make(op, operands);
    const g = cotangents(n, ops[op], b.ones(n.type))[i];
    return [...value(g ?? b.zeros(operands[i].type)).data];
  };
  const x = constant(f32([3], [-1, 0, 2]));
  test("conventions at kinks are PyTorch's", () => {
    expect(at("max", [x, b.constant(0, "f32", [3])], 0)).toEqual([0, 0, 1]);
    expect(at("abs", [x], 0)).toEqual([-1, 0, 1]);
    expect(at("pow", [x, b.constant(1, "f32", [3])], 0)).toEqual([1, 1, 1]);
    expect(at("pow", [x, b.constant(2, "f32", [3])], 0)).toEqual([-2, 0, 4]);
    expect(at("sqrt", [constant(f32([1], [0]))], 0)).toEqual([Number.POSITIVE_INFINITY]);
  });
  test("ties share", () => {
    const other = b.add(x, 0);
    expect(at("max", [x, other], 0)).toEqual([0.5, 0.5, 0.5]);
    expect(at("min", [other, x], 1)).toEqual([0.5, 0.5, 0.5]);
    expect(at("min", [other, x], 0)).toEqual([0, 0, 0]); // x is a constant
    const tied = b.make("reduce_max", [constant(f32([4], [1, 3, 3, 0]))], { axes: [0] });
    const g = cotangents(tied, ops.reduce_max, b.constant(1));
    expect([...value(g[0]!).data]).toEqual([0, 0.5, 0.5, 0]);
  });
  test("where lets no NaN through from the branch not taken", () => {
    const nan = constant(f32([2], [Number.NaN, 1]));
    const c = constant({ dtype: "bool", shape: [2], data: Float64Array.of(0, 1) });
    expect(at("where", [c, nan, constant(f32([2], [5, 6]))], 1)).toEqual([0, 1]);
  });
});

describe("values", () => {
  const f = (op: OpName, ...operands: Tensor[]) => [...value(b.make(op, operands.map(constant))).data];
  test("integers wrap, remainders take the sign of the divisor, rounding is to even", () => {
    expect(f("add", i32([1], [2 ** 31 - 1]), i32([1], [1]))).toEqual([-(2 ** 31)]);
    expect(f("mul", i32([1], [65537]), i32([1], [65537]))).toEqual([131073]);
    expect(f("mod", i32([2], [-5, 5]), i32([2], [3, -3]))).toEqual([1, -1]);
    expect(f("round", f32([5], [0.5, 1.5, 2.5, -0.5, -1.5])).map((v) => v + 0)).toEqual([0, 2, 2, 0, -2]);
  });
  test("erf, against tabulated values", () => {
    const table = [
      [0.1, 0.1124629160182849],
      [1, 0.8427007929497149],
      [2.9, 0.9999589021219005],
      [3.1, 0.9999883513426328],
      [5, 0.9999999999984626],
    ];
    for (const [p, q] of table) expect(Math.abs(f("erf", f32([1], [p]))[0] - q)).toBeLessThan(1e-15);
    expect(f("erf", f32([2], [-1, 9]))).toEqual([-f("erf", f32([1], [1]))[0], 1]);
  });
  test("indices outside take the nearest row", () => {
    expect(f("gather", f32([2, 1], [10, 20]), i32([2], [-7, 7]))).toEqual([10, 20]);
  });
});
