/** Random small graphs, and values for their inputs, for laws that hold of all graphs. */
import fc from "fast-check";
import { differentiate } from "../../src/ir/autodiff.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { order, sizes } from "../../src/ir/graph.ts";
import type { Supplies } from "../../src/ir/interpret.ts";
import { rowOf, type Tensor, tensor } from "../../src/ir/ops/index.ts";

/** A choice: which operand, which form. Numbers are taken modulo what there is, so that every list makes a graph. */
type Step = readonly [number, number, number, number];

const b = new Builder({ path: "random" });

const elements = (shape: readonly number[]) => shape.reduce((p, d) => p * d, 1);

/** The nodes of one graph, newest last; every step adds one made from earlier ones. */
function grow(steps: readonly Step[]): Graph {
  const nodes: Node[] = [
    b.input("x", { dtype: "f32", shape: [2, 3] }),
    b.input("y", { dtype: "f32", shape: [2, 3] }),
    b.param("w", [3, 4]),
    b.input("s", { dtype: "f32", shape: [] }),
    b.input("i", { dtype: "i32", shape: [2] }),
    b.constant(0, "f32", [2, 3]),
    b.constant(1, "f32", [2, 3]),
  ];
  for (const step of steps) {
    const made = next(nodes, step);
    if (made && elements(sizes(made)) <= 256 && made.type.shape.length <= 5) nodes.push(made);
  }
  const results = nodes.slice(-3).map((node, i) => ({ role: "output" as const, name: `r${i}`, node }));
  return { results };
}

function next(nodes: readonly Node[], [form, p, q, r]: Step): Node | undefined {
  const any = (k: number, fits: (n: Node) => boolean = () => true): Node | undefined => {
    const list = nodes.filter(fits);
    // Later nodes are likelier, so that graphs grow deep.
    return list.length ? list[Math.max(list.length - 1 - (k % Math.min(list.length, 7)), 0)] : undefined;
  };
  const float = (n: Node) => n.type.dtype === "f32";
  const x = any(p, float)!;
  const shape = sizes(x);
  const rank = shape.length;
  const axis = rank ? q % rank : 0;
  const alike = any(r, (n) => float(n) && sizes(n).join() === shape.join())!;
  const constant = b.constant([0, 1, -1, 2, 0.5][q % 5], "f32", shape);
  switch (form % 24) {
    case 0:
      return b.add(x, alike);
    case 1:
      return b.sub(x, alike);
    case 2:
      return b.mul(x, alike);
    case 3:
      return b.binary((["add", "sub", "mul", "max"] as const)[r % 4], x, constant);
    case 4:
      return b.binary((["add", "sub", "mul", "max"] as const)[r % 4], constant, x);
    case 5:
      return b.neg(x);
    case 6:
      return b.unary((["tanh", "sin", "abs", "sign"] as const)[q % 4], x);
    case 7:
      return b.pow(b.add(b.mul(x, x), 1), [0, 1, 2, 3, 0.5, -1, -0.5, -2][q % 8]);
    case 8:
      return b.where(b.compare("lt", x, alike), x, q % 2 ? b.constant(0, "f32", shape) : alike);
    case 9:
      return rank ? b.reduce((["sum", "max", "mean"] as const)[q % 3], x, [axis], r % 2 === 0) : undefined;
    case 10:
      return rank > 1 ? b.permute(x, rotate(rank, 1 + (q % (rank - 1)))) : undefined;
    case 11: {
      const ones = shape.flatMap((d, i) => (d === 1 ? [i] : []));
      return ones.length
        ? b.expand(
            x,
            shape.map((d, i) => (d === 1 && i === ones[q % ones.length] ? 2 + (r % 2) : d)),
          )
        : undefined;
    }
    case 12: {
      const at = q % (rank + 1);
      return b.reshape(x, [...shape.slice(0, at), 1, ...shape.slice(at)]);
    }
    case 13:
      return rank ? b.reshape(x, [elements(shape)]) : undefined;
    case 14: {
      if (!rank || shape[axis] < 2) return undefined;
      const start = r % (shape[axis] - 1);
      return b.sliceAxis(x, axis, start, start + 1 + (p % (shape[axis] - start)), 1 + (p % 2));
    }
    case 15:
      return rank ? b.padAxis(x, axis, q % 3, r % 2, p % 3 === 0 ? 1 : 0) : undefined;
    case 16:
      return rank ? b.concat([x, alike], axis) : undefined;
    case 17: {
      // Contract an axis of x with one of equal size.
      if (!rank) return undefined;
      const other = any(r, (n) => float(n) && sizes(n).includes(shape[axis]));
      return other && b.dot(x, other, { lhsContract: [axis], rhsContract: [sizes(other).indexOf(shape[axis])] });
    }
    case 18: {
      if (rank < 2) return undefined;
      return b.dot(x, alike, { lhsBatch: [axis], rhsBatch: [axis], lhsContract: [(axis + 1) % rank], rhsContract: [(axis + 1) % rank] });
    }
    case 19: {
      if (!rank) return undefined;
      const index = any(r, (n) => n.type.dtype === "i32")!;
      return b.gather(x, index);
    }
    case 20: {
      const index = b.iota(shape.length ? shape : [2], axis);
      return q % 2 ? b.cast(b.eq(index, r % 3), "f32") : b.cast(index, "f32");
    }
    case 21: {
      // A pick along an axis, and its gradient's form.
      if (!rank) return undefined;
      const hit = b.eq(b.iota(shape, axis), b.constant(r % 4, "i32", shape));
      return b.reduce("sum", b.where(hit, x, 0), [axis]);
    }
    case 22:
      return b.stopGradient(x);
    default: {
      const s = any(r, (n) => float(n) && n.type.shape.length === 0)!;
      return b.binary(q % 2 ? "mul" : "add", x, s);
    }
  }
}

const rotate = (rank: number, by: number): number[] => Array.from({ length: rank }, (_, i) => (i + by) % rank);

export const randomGraph: fc.Arbitrary<Graph> = fc
  .array(fc.tuple(fc.nat(23), fc.nat(11), fc.nat(11), fc.nat(11)), { minLength: 3, maxLength: 25 })
  .map(grow);

const value = (name: string, shape: readonly number[], from: (i: number) => number): [string, Tensor] => [
  name,
  tensor(
    "f32",
    shape,
    Array.from({ length: elements(shape) }, (_, i) => from(i)),
  ),
];
const wave = (k: number) => (i: number) => Math.sin(i * 1.7 + k) + 0.3 * Math.cos(i * k);

/** Values for what `grow` reads. */
export const supplies: Supplies = {
  inputs: new Map<string, Tensor>([
    value("x", [2, 3], wave(1)),
    value("y", [2, 3], wave(2)),
    value("s", [], wave(3)),
    ["i", tensor("i32", [2], [1, 0])],
  ]),
  params: new Map([value("w", [3, 4], wave(5))]),
};

/** The gradients of all that a graph gives, summed, by its parameters and float inputs: each an output. */
export function gradientsOf(graph: Graph): Graph {
  const total = graph.results
    .map((r) => b.reduce("sum", b.unary("tanh", b.cast(r.node, "f32"))))
    .reduce((x, y) => b.add(x, y), b.constant(0));
  const leaves = order([total]).filter((n) => ["param", "input"].includes(rowOf(n).supply ?? "") && n.type.dtype === "f32");
  return differentiate({ results: leaves.map((x, i) => ({ role: "output", name: `d${i}`, node: b.grad(total, x) })) });
}
