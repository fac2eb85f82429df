/** A small GPT-2 with LoRA and AdamW, written with the builder: what the elaborator makes of a training step, in miniature. */
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node, Origin, Result } from "../../src/ir/graph.ts";
import { order, sizes } from "../../src/ir/graph.ts";
import type { Supplies } from "../../src/ir/interpret.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";

export interface Shape {
  readonly layers: number;
  readonly batch: number;
  readonly sequence: number;
  readonly dim: number;
  readonly heads: number;
  readonly vocab: number;
  readonly rank: number;
}
export const TINY: Shape = { layers: 2, batch: 2, sequence: 5, dim: 8, heads: 2, vocab: 11, rank: 2 };

export interface Choices {
  /** Where the update of low rank goes: beside the product, or into the weight, or into the weight scaled by rows. */
  readonly method?: "beside" | "weight" | "dora";
  /** What the loss reads: all next tokens, or a classification of the first token, or of one token a row given by index. */
  readonly head?: "lm" | "first" | "indexed";
  /** Without gradients and update. */
  readonly forwardOnly?: boolean;
  /** Probability of dropout of attention, with a key for each layer. */
  readonly dropout?: number;
}

export function trainingStep(s: Shape, choices: Choices = {}): Graph {
  const top = new Builder({ path: "" });
  const trained: Node[] = [];
  const ids = top.input("input_ids", { dtype: "i32", shape: [s.batch, s.sequence] });
  const labels = top.input("labels", { dtype: "i32", shape: [s.batch, s.sequence] });
  const wte = top.param("wte", [s.vocab, s.dim]);
  const wpe = top.param("wpe", [s.sequence, s.dim]);
  let x = top.add(top.gather(wte, ids), top.reshape(top.gather(wpe, top.iota([s.sequence], 0)), [1, s.sequence, s.dim]));
  for (let i = 0; i < s.layers; i++) {
    const at: Origin = { path: `h.${i}`, iteration: { loop: "h", iteration: i, of: s.layers } };
    x = block(new Builder(at), x, i, s, choices, trained);
  }
  x = layerNorm(top, x, "ln_f", s.dim);
  const loss = lossOf(top, x, wte, ids, labels, s, choices);
  const results: Result[] = [{ role: "output", name: "loss", node: loss }];
  if (!choices.forwardOnly) for (const p of trained) results.push(...adamw(top, p, top.grad(loss, p)));
  return { results };
}

function lossOf(b: Builder, x: Node, wte: Node, ids: Node, labels: Node, s: Shape, { head = "lm" }: Choices): Node {
  if (head === "lm") {
    const logits = b.matmul(x, b.swapLast(wte));
    return tokenLoss(b, b.sliceAxis(logits, 1, 0, s.sequence - 1), b.sliceAxis(labels, 1, 1, s.sequence));
  }
  const logits = b.matmul(x, b.swapLast(b.param("score", [3, s.dim])));
  if (head === "first") return tokenLoss(b, b.pick(logits, 1, 0), b.pick(labels, 1, 0));
  // One position a row, as `logits[arange(B), last]` is written: rows of the flattened tensor.
  const last = b.sub(b.reduce("sum", b.cast(b.compare("ge", ids, 0), "i32"), [1]), 2);
  const row = b.add(b.mul(b.iota([s.batch], 0), s.sequence), last);
  return tokenLoss(b, b.gather(b.reshape(logits, [s.batch * s.sequence, 3]), row), b.pick(labels, 1, 0));
}

function tokenLoss(b: Builder, logits: Node, labels: Node): Node {
  const known = b.compare("ne", labels, -100);
  const rank = logits.type.shape.length;
  const shifted = b.sub(logits, b.stopGradient(b.reduce("max", logits, [-1], true)));
  const logp = b.sub(shifted, b.unary("log", b.reduce("sum", b.unary("exp", shifted), [-1], true)));
  const at = b.where(known, labels, 0);
  const hit = b.eq(b.iota(logits.type.shape, rank - 1), b.reshape(at, [...at.type.shape, 1]));
  const nll = b.where(known, b.neg(b.reduce("sum", b.where(hit, logp, 0), [-1])), 0);
  return b.div(b.reduce("sum", b.where(known, nll, 0)), b.max(b.reduce("sum", known), 1));
}

export function layerNorm(b: Builder, x: Node, name: string, dim: number): Node {
  const centred = b.sub(x, b.reduce("mean", x, [-1], true));
  const spread = b.unary("sqrt", b.add(b.reduce("mean", b.pow(centred, 2), [-1], true), 1e-5));
  return b.add(b.mul(b.div(centred, spread), b.param(`${name}.weight`, [dim])), b.param(`${name}.bias`, [dim]));
}

function block(b: Builder, x: Node, i: number, s: Shape, choices: Choices, trained: Node[]): Node {
  const d = s.dim;
  const conv = (name: string, v: Node, from: number, to: number) =>
    b.add(b.matmul(v, b.param(`h.${i}.${name}.weight`, [from, to])), b.param(`h.${i}.${name}.bias`, [to]));
  const qkv = adapted(b, layerNorm(b, x, `h.${i}.ln_1`, d), `h.${i}.c_attn`, d, 3 * d, s, choices, trained);
  const heads = [0, 1, 2].map((k) => {
    const part = b.sliceAxis(qkv, 2, k * d, (k + 1) * d);
    return b.permute(b.reshape(part, [s.batch, s.sequence, s.heads, d / s.heads]), [0, 2, 1, 3]);
  });
  const [q, k, v] = heads;
  const scores = b.mul(b.matmul(q, b.swapLast(k)), 1 / Math.sqrt(d / s.heads));
  const causal = b.compare("le", b.iota([s.sequence, s.sequence], 1), b.iota([s.sequence, s.sequence], 0));
  const masked = b.where(causal, scores, -3.4028234663852886e38);
  const e = b.unary("exp", b.sub(masked, b.stopGradient(b.reduce("max", masked, [-1], true))));
  const p = dropped(b, b.div(e, b.reduce("sum", e, [-1], true)), i, choices);
  const y = b.reshape(b.permute(b.matmul(p, v), [0, 2, 1, 3]), [s.batch, s.sequence, d]);
  const mid = b.add(x, conv("c_proj", y, d, d));
  const h = conv("c_fc", layerNorm(b, mid, `h.${i}.ln_2`, d), d, 4 * d);
  const inner = b.mul(Math.sqrt(2 / Math.PI), b.add(h, b.mul(0.044715, b.pow(h, 3))));
  return b.add(mid, conv("mlp_proj", b.mul(b.mul(0.5, h), b.add(1, b.unary("tanh", inner))), 4 * d, d));
}

function dropped(b: Builder, x: Node, i: number, { dropout = 0 }: Choices): Node {
  if (dropout === 0) return x;
  const step = b.input("step", { dtype: "i32", shape: [] });
  const kept = b.compare("ge", b.draw("uniform", x.type.shape, b.table([i, 77], [2], "i32"), step), dropout);
  return b.where(kept, b.div(x, 1 - dropout), 0);
}

function adapted(
  b: Builder,
  x: Node,
  path: string,
  from: number,
  to: number,
  s: Shape,
  { method = "beside" }: Choices,
  trained: Node[],
): Node {
  const weight = b.swapLast(b.param(`${path}.weight`, [from, to]));
  const bias = b.param(`${path}.bias`, [to]);
  const lora = [b.param(`${path}.lora_A`, [s.rank, from]), b.param(`${path}.lora_B`, [to, s.rank])];
  trained.push(...lora);
  const [A, B] = lora;
  const scale = 2;
  if (method === "beside") {
    const delta = b.mul(scale, b.matmul(b.matmul(x, b.swapLast(A)), b.swapLast(B)));
    return b.add(b.add(b.matmul(x, b.swapLast(weight)), bias), delta);
  }
  let changed = b.add(weight, b.mul(scale, b.matmul(B, A)));
  if (method === "dora") {
    const magnitude = b.param(`${path}.magnitude`, [to]);
    trained.push(magnitude);
    const norm = b.stopGradient(b.unary("sqrt", b.reduce("sum", b.pow(changed, 2), [1])));
    changed = b.mul(b.reshape(b.div(magnitude, norm), [to, 1]), changed);
  }
  return b.add(b.matmul(x, b.swapLast(changed)), bias);
}

function adamw(b: Builder, p: Node, g: Node): Result[] {
  const name = String(p.attrs.name);
  const step = b.input("step", { dtype: "i32", shape: [] });
  const steps = b.input("steps", { dtype: "i32", shape: [] });
  const m = b.state(`m.${name}`, p.type);
  const v = b.state(`v.${name}`, p.type);
  const m1 = b.add(b.mul(0.9, m), b.mul(1 - 0.9, g));
  const v1 = b.add(b.mul(0.999, v), b.mul(1 - 0.999, b.pow(g, 2)));
  const age = b.add(step, 1);
  const lr = b.mul(1e-2, b.div(b.sub(steps, step), b.max(steps, 1)));
  const mHat = b.div(m1, b.sub(1, b.pow(0.9, age)));
  const vHat = b.div(v1, b.sub(1, b.pow(0.999, age)));
  const next = b.sub(p, b.mul(lr, b.add(b.div(mHat, b.add(b.unary("sqrt", vHat), 1e-8)), b.mul(0.01, p))));
  return [
    { role: "param", name, node: next },
    { role: "state", name: `m.${name}`, node: m1 },
    { role: "state", name: `v.${name}`, node: v1 },
  ];
}

/** Some value for everything that a graph reads. */
export function suppliesFor(graph: Graph): Supplies {
  const params = new Map<string, Tensor>();
  const states = new Map<string, Tensor>();
  const inputs = new Map<string, Tensor>();
  for (const n of order(graph.results.map((r) => r.node))) {
    const name = String(n.attrs.name);
    const shape = n.op === "param" || n.op === "state" || n.op === "input" ? sizes(n) : [];
    const count = shape.reduce((p, d) => p * d, 1);
    const seed = [...name].reduce((h, c) => (h * 31 + c.charCodeAt(0)) % 1009, 7);
    const wave = (i: number) => 0.4 * Math.sin(1.7 * i + seed) + 0.2 * Math.cos(0.3 * i * (seed % 7));
    if (n.op === "param")
      params.set(
        name,
        tensor(
          "f32",
          shape,
          Array.from({ length: count }, (_, i) => wave(i) + (name.endsWith("magnitude") ? 1 : 0)),
        ),
      );
    if (n.op === "state")
      states.set(
        name,
        tensor(
          "f32",
          shape,
          Array.from({ length: count }, (_, i) => wave(i) ** 2),
        ),
      );
    if (n.op !== "input") continue;
    const scalar: Record<string, number> = { step: 3, steps: 10 };
    const value = (i: number) => scalar[name] ?? (i * 7 + seed) % 3;
    const dtype = n.type.dtype;
    inputs.set(
      name,
      tensor(
        dtype,
        shape,
        Array.from({ length: count }, (_, i) => (dtype === "f32" ? wave(i) : value(i))),
      ),
    );
  }
  return { params, states, inputs };
}
