/** Stacks of coupled streams written with the builder: MEFT's wirings over a small transformer, and a RevNet from scratch. */
import { Builder } from "../../src/ir/build.ts";
import { type Graph, type Node, node, order, type Result } from "../../src/ir/graph.ts";
import { layerNorm } from "./transformer.ts";

export interface Stack {
  readonly kind: 1 | 2 | 3 | "revnet";
  readonly layers: number;
  readonly batch?: number;
  readonly sequence?: number;
  readonly dim?: number;
  readonly lambda?: number;
  readonly beta?: number;
  /** Probability of dropout in every layer. */
  readonly dropout?: number;
  /** Ids of documents, which see only themselves. */
  readonly packed?: boolean;
  /** Norms before each half rather than after. */
  readonly pre?: boolean;
  /** Only the first token of a text is read at the end. */
  readonly first?: boolean;
  /** What the second layer adds to one number of every text's first token. */
  readonly outlier?: number;
}

const HEADS = 2;
const CLASSES = 3;

/** A step of gradient descent on the adapters: outputs `loss`, and the next value of each of them. */
export function stackStep(s: Stack): Graph {
  const { kind, layers, batch = 2, sequence = 6, dim = 8, pre = false } = s;
  const factors = { 1: [0.1, 1], 2: [1, 0.1], 3: [0.1, 0.1], revnet: [1, 1] }[kind];
  const [lambda, beta] = [s.lambda ?? factors[0], s.beta ?? factors[1]];
  const top = new Builder({ path: "" });
  const trained: Node[] = [];
  const weight = (name: string, shape: readonly number[], learns = false): Node => {
    const p = top.param(name, shape);
    if (learns) trained.push(p);
    return p;
  };
  const ids = top.input("input_ids", { dtype: "i32", shape: [batch, sequence] });
  const label = top.input("labels", { dtype: "i32", shape: [batch] });
  const step = top.input("step", { dtype: "i32", shape: [] });
  const documents = top.input("documents", { dtype: "i32", shape: [batch, sequence] });
  const norm = (b: Builder, x: Node, name: string) => layerNorm(b, x, name, dim);
  const linear = (b: Builder, x: Node, name: string, from: number, to: number) =>
    b.add(b.matmul(x, weight(`${name}.weight`, [from, to])), weight(`${name}.bias`, [to]));
  const gelu = (b: Builder, x: Node) => b.mul(b.mul(0.5, x), b.add(1, b.unary("erf", b.mul(x, Math.SQRT1_2))));
  const adapter = (b: Builder, x: Node, name: string) =>
    b.matmul(gelu(b, b.matmul(x, weight(`${name}.down`, [dim, 2], true))), weight(`${name}.up`, [2, dim], true));
  const dropped = (b: Builder, x: Node, i: number) => {
    if (!s.dropout) return x;
    const key = b.table([i, 77], [2], "i32");
    const kept = b.compare("ge", b.draw("uniform", [batch, sequence, dim], key, step), s.dropout);
    return b.where(kept, b.div(x, 1 - s.dropout), 0);
  };
  const attention = (b: Builder, x: Node, name: string) => {
    const head = (k: string) =>
      b.permute(b.reshape(linear(b, x, `${name}.${k}`, dim, dim), [batch, sequence, HEADS, dim / HEADS]), [0, 2, 1, 3]);
    let scores = b.div(b.matmul(head("q"), b.swapLast(head("k"))), Math.sqrt(dim / HEADS));
    if (s.packed) {
      const same = b.eq(b.reshape(documents, [batch, 1, sequence, 1]), b.reshape(documents, [batch, 1, 1, sequence]));
      scores = b.where(same, scores, -1e9);
    }
    const e = b.unary("exp", b.sub(scores, b.stopGradient(b.reduce("max", scores, [-1], true))));
    const p = b.div(e, b.reduce("sum", e, [-1], true));
    return linear(b, b.reshape(b.permute(b.matmul(p, head("v")), [0, 2, 1, 3]), [batch, sequence, dim]), `${name}.o`, dim, dim);
  };
  /** A number for the first token, of every text. */
  const far = (b: Builder, value: number) => {
    const at = Array.from({ length: sequence * dim }, (_, place) => (place === 1 ? value : 0));
    return b.expand(b.table(at, [1, sequence, dim]), [batch, sequence, dim]);
  };
  const first = (b: Builder, x: Node, i: number) => {
    const name = `h.${i}.attn`;
    const out = dropped(b, attention(b, pre ? norm(b, x, `${name}.norm`) : x, name), i);
    return pre ? b.add(x, out) : norm(b, b.add(x, out), `${name}.norm`);
  };
  const second = (b: Builder, x: Node, i: number) => {
    const name = `h.${i}.mlp`;
    const h = pre ? norm(b, x, `${name}.norm`) : x;
    const out = b.add(
      linear(b, gelu(b, linear(b, h, `${name}.up`, dim, 2 * dim)), `${name}.down`, 2 * dim, dim),
      adapter(b, h, `${name}.inner`),
    );
    const more = s.outlier === undefined ? out : b.add(out, far(b, i === 1 ? s.outlier : 0));
    return pre ? b.add(x, more) : norm(b, b.add(x, more), `${name}.norm`);
  };
  const whole = (b: Builder, x: Node, i: number) => second(b, first(b, x, i), i);
  const rev = (b: Builder, x: Node, i: number) => adapter(b, x, `h.${i}.rev`);

  const start = top.add(top.gather(weight("embed", [11, dim]), ids), top.gather(weight("place", [sequence, dim]), top.iota([sequence], 0)));
  let [a, c] = [start, start];
  if (kind === "revnet") c = top.unary("tanh", linear(top, start, "other", dim, dim));
  for (let i = 0; i < layers; i++) {
    const b = new Builder({ path: `h.${i}`, iteration: { loop: "h", iteration: i, of: layers } });
    const [f, g] = kind === 1 ? [whole, rev] : kind === 2 ? [rev, whole] : [first, second];
    if (kind === "revnet") {
      a = b.sub(a, rev(b, c, i));
      c = b.add(c, b.unary("tanh", linear(b, a, `h.${i}.g`, dim, dim)));
      continue;
    }
    const y1 = b.add(b.mul(lambda, a), f(b, c, i));
    const y2 = b.add(b.mul(beta, c), g(b, y1, i));
    [a, c] = kind === 3 ? [y1, y2] : [y2, y1];
  }
  const mean = top.div(top.add(a, c), 2);
  const all = pre ? norm(top, mean, "final") : mean;
  const out = s.first ? top.sliceAxis(all, 1, 0, 1) : all;
  const logits = linear(top, top.reduce("mean", out, [1]), "head", dim, CLASSES);
  const logp = top.sub(logits, top.unary("log", top.reduce("sum", top.unary("exp", logits), [-1], true)));
  const hit = top.eq(top.iota([batch, CLASSES], 1), top.reshape(label, [batch, 1]));
  const loss = top.neg(top.div(top.reduce("sum", top.where(hit, logp, 0)), batch));
  const results: Result[] = [{ role: "output", name: "loss", node: loss }];
  for (const p of trained) results.push({ role: "param", name: String(p.attrs.name), node: top.sub(p, top.mul(0.5, top.grad(loss, p))) });
  return { results };
}

/** The graph with all that is recomputed taken from where it was computed first: everything that the backward half reads is kept. */
export function stored(graph: Graph): Graph {
  const nodes = order(graph.results.map((r) => r.node));
  const key = (n: Node) => `${n.origin.recompute!.part} ${n.origin.recompute!.index}`;
  const first = new Map(nodes.filter((n) => n.origin.recompute?.copy === false).map((n) => [key(n), n]));
  const known = new Map<Node, Node>();
  for (const n of nodes) {
    const inputs = n.inputs.map((x) => known.get(x)!);
    const same = inputs.every((x, i) => x === n.inputs[i]);
    known.set(
      n,
      n.origin.recompute?.copy ? known.get(first.get(key(n))!)! : same ? n : node(n.op, inputs, n.attrs, n.type, n.origin, n.loop),
    );
  }
  return { results: graph.results.map((r) => ({ ...r, node: known.get(r.node)! })) };
}
