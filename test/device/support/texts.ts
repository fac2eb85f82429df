/** Small graphs whose kernels' texts are held whole, and how each printer prints them. */
import type { TargetOptions } from "../../../src/backends/backend.ts";
import { type CompiledProgram, compileProgram } from "../../../src/backends/compile.ts";
import { guaranteed } from "../../../src/ground/limits.ts";
import { Builder } from "../../../src/ir/build.ts";
import type { Graph, Node } from "../../../src/ir/graph.ts";

const at = (path: string): Builder => new Builder({ path });
const b = at("");
const f = (name: string, ...shape: number[]): Node => b.input(name, { dtype: "f32", shape });
const i = (name: string, ...shape: number[]): Node => b.input(name, { dtype: "i32", shape });
const rows = { lhsContract: [1], rhsContract: [0] };

const graphs: Readonly<Record<string, () => readonly Node[]>> = {
  matmul: () => [
    at("h.0.mlp.c_fc").add(
      at("h.0.mlp.c_fc").dot(f("x", 3, 4), b.param("h.0.mlp.c_fc.weight", [4, 5]), rows),
      b.param("h.0.mlp.c_fc.bias", [5]),
    ),
  ],
  "thin product": () => {
    const [base, lora] = [at("h.0.attn.c_attn"), at("lora.h.0.attn.c_attn")];
    const whole = base.dot(f("x", 4, 8), b.param("h.0.attn.c_attn.weight", [8, 4]), rows);
    return [lora.add(whole, lora.dot(f("lora.down", 4, 2), b.param("lora.h.0.attn.c_attn.lora_B", [2, 4]), rows))];
  },
  softmax: () => [softmax(at("h.0.attn"), f("scores", 5, 7))],
  norm: () => {
    const n = at("h.0.ln_1");
    const x = f("h.0.x", 4, 8);
    const centred = n.sub(x, n.reduce("mean", x, [1], true));
    const variance = n.reduce("mean", n.mul(centred, centred), [1], true);
    const scaled = n.div(centred, n.unary("sqrt", n.add(variance, 1e-5)));
    return [n.add(n.mul(scaled, b.param("h.0.ln_1.weight", [8])), b.param("h.0.ln_1.bias", [8]))];
  },
  "attention forward": () => {
    const a = at("h.0.attn");
    const seen = a.compare("ge", a.iota([4, 4], 0), a.iota([4, 4], 1));
    return [softmax(a, a.where(seen, a.mul(f("h.0.attn.scores", 4, 4), 0.5), -1e30))];
  },
  "attention backward": () => {
    const a = at("h.0.attn");
    const [p, g] = [f("h.0.attn.p", 4, 4), f("h.0.attn.dp", 4, 4)];
    return [a.mul(p, a.sub(g, a.reduce("sum", a.mul(p, g), [1], true)))];
  },
  "cross-entropy head": () => {
    const o = at("causal_lm");
    const logits = f("lm_head.logits", 3, 8);
    const most = o.reduce("max", logits, [1], true);
    const sum = o.reduce("sum", o.unary("exp", o.sub(logits, most)), [1], true);
    const hit = o.compare("eq", o.iota([3, 8], 1), o.broadcastTo(o.reshape(i("labels", 3), [3, 1]), [3, 8]));
    const logp = o.sub(o.sub(logits, most), o.unary("log", sum));
    return [o.neg(o.reduce("sum", o.where(hit, logp, 0), [1]))];
  },
  gather: () => [at("wte").make("gather", [b.param("wte.weight", [9, 4]), i("input_ids", 3)])],
  "optimiser update": () => {
    const o = at("adamw.h.0.attn.lora_A");
    const [p, g, m, v] = [b.param("lora_A.weight", [8]), f("grad.lora_A", 8), f("adamw.lora_A.m", 8), f("adamw.lora_A.v", 8)];
    const m1 = o.add(o.mul(m, 0.9), o.mul(g, 0.1));
    const v1 = o.add(o.mul(v, 0.999), o.mul(o.mul(g, g), 0.001));
    return [o.sub(p, o.mul(o.div(m1, o.add(o.unary("sqrt", v1), 1e-8)), f("lr"))), m1, v1];
  },
  reduction: () => [at("h.0.mlp.c_fc").reduce("sum", f("h.0.mlp.grad", 3, 8), [0])],
  "elementwise chain": () => {
    const g = at("h.0.mlp.act");
    const x = f("h.0.mlp.c_fc", 8);
    const inner = g.mul(g.add(x, g.mul(g.mul(g.mul(x, x), x), 0.044715)), 0.7978845608);
    return [g.mul(g.mul(x, 0.5), g.add(g.unary("tanh", inner), 1))];
  },
  "quantised product": () => {
    const q = at("h.0.mlp.c_fc");
    const codes = b.input("c_fc.codes", { dtype: "i32", shape: [4] });
    const table = q.table(
      Array.from({ length: 16 }, (_, k) => k / 8 - 1),
      [16],
    );
    const w = q.make("dequantise", [codes, f("c_fc.scales", 4), table], { shape: [8, 4], block: 8 });
    return [q.dot(f("x", 3, 8), w, rows)];
  },
  rotary: () => {
    const r = at("layers.0.self_attn");
    const x = f("layers.0.self_attn.q", 3, 8);
    const turned = r.concat([r.neg(r.sliceAxis(x, 1, 4, 8)), r.sliceAxis(x, 1, 0, 4)], 1);
    return [r.add(r.mul(x, f("rope.cos", 3, 8)), r.mul(turned, f("rope.sin", 3, 8)))];
  },
};

function softmax(a: Builder, x: Node): Node {
  const e = a.unary("exp", a.sub(x, a.reduce("max", x, [1], true)));
  return a.div(e, a.reduce("sum", e, [1], true));
}

export const CASES: readonly string[] = Object.keys(graphs);

const TARGETS = {
  wat: { target: "wasm", arithmetic: "plain", workers: 1 },
  c: { target: "native", machine: { lanes: 8, registers: 16 }, workers: 1 },
  wgsl: { target: "webgpu", limits: { ...guaranteed, deviceClass: "software" } },
} as const satisfies Record<string, TargetOptions>;
export type Printer = keyof typeof TARGETS;
export const PRINTERS = Object.keys(TARGETS) as Printer[];

export async function compiled(printer: Printer, nodes: readonly Node[], readable = true): Promise<CompiledProgram> {
  const graph: Graph = { results: nodes.map((node, k) => ({ role: "output", name: `y${k}`, node })) };
  const target = TARGETS[printer];
  return await compileProgram([{ name: "main", graph }], target.target === "native" ? { ...target, readable } : target);
}

/** Whole texts of the kernels of some results, heads and all. */
export async function textsOf(printer: Printer, nodes: readonly Node[]): Promise<string[]> {
  const { program, files } = await compiled(printer, nodes);
  if (printer === "wgsl") return program.kernels.map((k) => k.code.trim());
  if (printer === "c")
    return files![0].text
      .split("\n\nvoid peftc_call")[0]
      .split(/\n\n(?=\/\/ )/)
      .slice(1);
  return program
    .wat!.split("\n")
    .slice(2, -2)
    .join("\n")
    .split(/(?<=^\))\n(?=;; )/m);
}
/** All kernels of a case, one below the other. */
export const textOf = async (printer: Printer, name: string): Promise<string> => (await textsOf(printer, graphs[name]())).join("\n\n");
