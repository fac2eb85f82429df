/** Runs a graph on WebAssembly and in the interpreter, with the same values. */
import { compileProgram, type EntrySource } from "../../../src/backends/compile.ts";
import type { Session, Values } from "../../../src/ground/program.ts";
import { type Graph, type Node, order, sizes } from "../../../src/ir/graph.ts";
import { interpret, resultKey } from "../../../src/ir/interpret.ts";
import { type Tensor, tensor } from "../../../src/ir/ops/index.ts";
import { enableRelaxed, startThread } from "../../../src/node/threads.ts";
import { openWasm } from "../../../src/runtime/wasm.ts";

export interface Given {
  readonly params: Map<string, Tensor>;
  readonly states: Map<string, Tensor>;
  readonly inputs: Map<string, Tensor>;
}

/** Reproducible numbers in -1..1, rounded to f32. */
export function numbers(seed: number): () => number {
  let s = seed >>> 0 || 1;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return Math.fround(((s >>> 0) / 2 ** 32) * 2 - 1);
  };
}

/** Values for everything a graph is handed. */
export function given(graph: Graph, seed: number, ints: (name: string) => number = () => 5): Given {
  const next = numbers(seed);
  const out: Given = { params: new Map(), states: new Map(), inputs: new Map() };
  for (const n of order(graph.results.map((r) => r.node))) {
    const table = n.op === "param" ? out.params : n.op === "state" ? out.states : n.op === "input" ? out.inputs : undefined;
    const name = n.attrs.name as string;
    if (!table || table.has(name)) continue;
    const count = sizes(n).reduce((a, b) => a * b, 1);
    const value = () => {
      const x = next();
      if (n.type.dtype === "f32") return x;
      return n.type.dtype === "bool" ? Number(x > 0) : Math.floor(((x + 1) / 2) * ints(name));
    };
    table.set(name, tensor(n.type.dtype, sizes(n), Float64Array.from({ length: count }, value)));
  }
  return out;
}

export const values = (t: Tensor): Values => (t.dtype === "f32" ? Float32Array.from(t.data) : Int32Array.from(t.data));

export interface WasmRun {
  readonly arithmetic?: "relaxed" | "plain";
  readonly workers?: number;
}

export async function openGraphs(entries: readonly EntrySource[], { arithmetic = "plain", workers = 1 }: WasmRun = {}): Promise<Session> {
  if (arithmetic === "relaxed") enableRelaxed();
  const { program, module } = await compileProgram(entries, { target: "wasm", arithmetic, workers });
  return openWasm(program, module!, { workers, startThread });
}

/** The results of one graph on WebAssembly, by `resultKey`. */
export async function runWasm(graph: Graph, g: Given, how: WasmRun = {}): Promise<Map<string, Values>> {
  const session = await openGraphs([{ name: "main", graph }], how);
  try {
    const has = new Set(order(graph.results.map((r) => r.node)).map((n) => `${n.op} ${String(n.attrs.name)}`));
    for (const [name, t] of g.params) if (has.has(`param ${name}`)) await session.write("param", name, values(t));
    for (const [name, t] of g.states) if (has.has(`state ${name}`)) await session.write("state", name, values(t));
    return await resultsOf(session, graph, g);
  } finally {
    await session.close();
  }
}

/** Runs the entry `main` of a session that has its parameters and states: the results of its graph, by `resultKey`. */
export async function resultsOf(session: Session, graph: Graph, g: Given): Promise<Map<string, Values>> {
  const outputs = await session.run("main", Object.fromEntries([...g.inputs].map(([name, t]) => [name, values(t)])));
  const out = new Map<string, Values>();
  for (const r of graph.results) out.set(resultKey(r), r.role === "output" ? outputs[r.name] : await session.read(r.role, r.name));
  return out;
}

export const meaning = (graph: Graph, g: Given): Map<string, Tensor> => interpret(graph, g);

export const outputs = (...nodes: Node[]): Graph => ({ results: nodes.map((node, i) => ({ role: "output", name: `y${i}`, node })) });

/** The greatest difference, relative to the size of the values (their largest magnitude, at least 1). NaN against a number is infinite. */
export function difference(seen: Values, expected: Tensor): number {
  let scale = 1;
  for (const x of expected.data) if (Number.isFinite(x)) scale = Math.max(scale, Math.abs(x));
  let worst = seen.length === expected.data.length ? 0 : Number.POSITIVE_INFINITY;
  for (let i = 0; i < seen.length; i++) {
    const [a, b] = [seen[i], expected.data[i]];
    if (a === b || (Number.isNaN(a) && Number.isNaN(b)) || a === Math.fround(b)) continue;
    const d = Math.abs(a - b) / scale;
    worst = Math.max(worst, Number.isNaN(d) ? Number.POSITIVE_INFINITY : d);
  }
  return worst;
}
