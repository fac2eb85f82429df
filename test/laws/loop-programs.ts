/** Random programs with a static loop, written out flat as the elaborator does, and values for what they are given. */
import fc from "fast-check";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node, Origin, Result } from "../../src/ir/graph.ts";
import { order } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { rowOf, type Tensor, tensor } from "../../src/ir/ops/index.ts";

export interface Program {
  /** For each iteration, what kind of layer it is: equal kinds have equal structure. */
  readonly kinds: readonly number[];
  /** Two streams, coupled as in a reversible network. */
  readonly streams: boolean;
  /** A bias that the first iteration computes and all use. */
  readonly shared: boolean;
  /** Inner loops of two iterations. */
  readonly inner: boolean;
  /** The iterations whose activations enter the loss. */
  readonly watched: readonly boolean[];
  /** Iterations with a trained adapter. */
  readonly adapted: readonly boolean[];
  readonly constants: readonly number[];
  readonly draws: boolean;
  /** All iterations use one weight. */
  readonly tied: boolean;
  /** A value between iterations that has lost its tag. */
  readonly untagged: boolean;
  readonly trainInput: boolean;
}

export const programs: fc.Arbitrary<Program> = fc.integer({ min: 2, max: 5 }).chain((n) => {
  const each = <T>(arb: fc.Arbitrary<T>) => fc.array(arb, { minLength: n, maxLength: n });
  return fc.record({
    kinds: each(fc.integer({ min: 0, max: 2 })),
    streams: fc.boolean(),
    shared: fc.boolean(),
    inner: fc.boolean(),
    watched: each(fc.boolean()),
    adapted: each(fc.boolean()),
    constants: each(fc.constantFrom(0.5, 0.5, 0.75)),
    draws: fc.boolean(),
    tied: fc.boolean(),
    untagged: fc.boolean(),
    trainInput: fc.boolean(),
  });
});

export interface Built {
  readonly graph: Graph;
  readonly loss: Node;
  readonly wanted: readonly Node[];
  /** What the last iteration carries out, the second where there are two streams. */
  readonly carried: readonly [Node, Node];
}

const D = 3;
const ROWS = 2;

/** Results: the loss, the last values, some activations; `wanted` are nodes to differentiate by, of all sorts. */
export function build(p: Program): Built {
  const b0 = new Builder({ path: "" });
  const input = b0.input("x", { dtype: "f32", shape: [ROWS, D] });
  const mask = b0.input("mask", { dtype: "f32", shape: [ROWS, 1] });
  const step = b0.input("step", { dtype: "i32", shape: [] });
  const trained = b0.param("captured", [D]);
  const tied = b0.param("tied", [D, D]);
  let x: Node = b0.mul(input, 2);
  let y: Node = x;
  let bias: Node | undefined;
  const wanted: Node[] = [trained];
  if (p.trainInput) wanted.push(x);
  const watched: Node[] = [];
  p.kinds.forEach((kind, t) => {
    const origin: Origin = { path: `h.${t}.mlp`, iteration: { loop: "h", iteration: t, of: p.kinds.length } };
    const b = b0.at(origin);
    if (p.shared && !bias) bias = b.unary("tanh", b.param("bias", [D]));
    const weight = p.tied ? tied : b.param(`h.${t}.weight`, [D, D]);
    let act = b.unary("tanh", b.matmul(x, weight));
    if (kind === 1) act = b.mul(act, b.unary("exp", b.mul(act, -0.5)));
    if (kind === 2) act = b.add(act, b.param(`h.${t}.extra`, [D]));
    if (p.adapted[t]) {
      const down = b.param(`lora.h.${t}.down`, [D, 1]);
      wanted.push(down);
      act = b.add(act, b.matmul(b.matmul(x, down), b.param(`lora.h.${t}.up`, [1, D])));
    }
    act = b.mul(b.mul(act, p.constants[t]), b.add(trained, 1));
    act = b.mul(act, mask);
    if (p.draws) {
      const noise = b.draw("uniform", [ROWS, D], b.table([t, 9], [2], "i32"), step);
      act = b.where(b.compare("lt", noise, 0.8), act, 0);
    }
    if (bias) act = b.add(act, bias);
    if (p.inner)
      for (let i = 0; i < 2; i++) {
        const inner = b.at({ path: `h.${t}.in.${i}`, iteration: { loop: "in", iteration: i, of: 2, outer: origin.iteration } });
        act = inner.add(act, inner.mul(inner.unary("sin", act), inner.param(`h.${t}.in.${i}.w`, [D])));
      }
    if (p.watched[t]) {
      watched.push(act);
      if (t % 2 === 0) wanted.push(act);
    }
    const joined = p.untagged && t === 1 ? b0.add(act, 0.125) : act;
    if (p.streams) {
      const before = x;
      y = b.add(b.mul(y, 0.5), joined);
      x = b.add(b.mul(before, 0.5), b.unary("tanh", y));
    } else x = b.add(x, joined);
  });
  const density = watched.map((a) => b0.reduce("mean", b0.div(b0.mul(a, a), b0.add(b0.mul(a, a), 0.1))));
  const last = p.streams ? b0.add(x, y) : x;
  const loss = [b0.reduce("mean", b0.mul(last, last)), ...density].reduce((s, d) => b0.add(s, d));
  const results: Result[] = [
    { role: "output", name: "loss", node: loss },
    { role: "output", name: "last", node: x },
    ...watched.map((node, i): Result => ({ role: "output", name: `act${i}`, node })),
  ];
  return { graph: { results }, loss, wanted, carried: [x, y] };
}

/** The program's results and its gradients by all it wants, and a directional derivative. */
export function withGradients(p: Program): Graph {
  const { graph, loss, wanted } = build(p);
  const b = new Builder({ path: "" });
  const grads = wanted.map((x, i): Result => ({ role: "output", name: `grad${i}`, node: b.grad(loss, x) }));
  const along = wanted.map((x) => b.jvp(loss, x, b.constant(0.5, "f32", x.type.shape)));
  return { results: [...graph.results, ...grads, ...along.map((node, i): Result => ({ role: "output", name: `jvp${i}`, node }))] };
}

/** Numbers for every param, input, state, the same for the same name. */
export function run(graph: Graph): Map<string, Tensor> {
  const give = { get: (name: string) => tensors.get(name) };
  const tensors = new Map<string, Tensor>();
  for (const n of order(graph.results.map((r) => r.node))) {
    const name = n.attrs.name;
    if (!rowOf(n).supply || typeof name !== "string" || tensors.has(name)) continue;
    const shape = n.type.shape as readonly number[];
    tensors.set(
      name,
      tensor(
        n.type.dtype,
        shape,
        numbers(
          name,
          n.type.dtype,
          shape.reduce((a, d) => a * d, 1),
        ),
      ),
    );
  }
  return interpret(graph, { params: give, inputs: give, states: give });
}

function numbers(name: string, dtype: string, count: number): number[] {
  let seed = [...name].reduce((h, c) => (Math.imul(h, 31) + c.charCodeAt(0)) | 0, 7);
  return Array.from({ length: count }, () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    const u = (seed >>> 8) / 2 ** 24;
    return dtype === "f32" ? 1.6 * u - 0.8 : dtype === "i32" ? Math.floor(4 * u) : u < 0.5 ? 0 : 1;
  });
}

/** The largest |a − b| / (1 + |b|) over results of equal names. */
export function difference(a: ReadonlyMap<string, Tensor>, b: ReadonlyMap<string, Tensor>): number {
  let worst = 0;
  for (const [name, value] of b) {
    const other = a.get(name)!;
    value.data.forEach((v, i) => {
      const d = Math.abs(other.data[i] - v) / (1 + Math.abs(v));
      worst = Number.isNaN(d) ? Number.POSITIVE_INFINITY : Math.max(worst, d);
    });
  }
  return worst;
}
