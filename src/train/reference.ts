/**
 * The `reference` device: graphs are not lowered but interpreted, node by node in f64. Between runs, values are stored as other devices store them (f32,
 * 4-byte integers), so what trains here differs from other devices by their rounding inside a run only. Slow.
 */
import { differentiate } from "../ir/autodiff.ts";
import { bind } from "../ir/bind.ts";
import { Bug, type Graph, type Node, order } from "../ir/graph.ts";
import { interpret } from "../ir/interpret.ts";
import { rowOf, type Tensor } from "../ir/ops/index.ts";
import type { Program, Session, Values } from "../runtime/program.ts";
import { valuesOf } from "./backend.ts";
import { memoryOf } from "./budget.ts";
import type { Built, Engine, EntryPoint } from "./engine.ts";
import { elements, narrow, tensorOf } from "./values.ts";

const graphs = new WeakMap<Program, ReadonlyMap<string, Graph>>();

/** `over`: for tests, whatever the engine should say instead. */
export function referenceEngine(over: Partial<Engine> = {}): Engine {
  return {
    device: "reference",
    reason: "asked for",
    memory: 4 * 2 ** 30,
    depth: 2,
    build: async (entries, options) => build(entries, options.trained),
    open: async ({ program }) => new Interpreted(program),
    ...over,
  };
}

function build(entries: readonly EntryPoint[], trained: readonly string[]): Built {
  const bound = new Map(entries.map((e) => [e.name, differentiate(bind(e.graph, e.sizes, { values: valuesOf(e.growing) }))]));
  const tensors: Program["tensors"][number][] = [];
  const params: Record<string, number> = {};
  const states: Record<string, number> = {};
  for (const graph of bound.values()) {
    for (const node of order(graph.results.map((r) => r.node))) {
      const { supply } = rowOf(node);
      const name = String(node.attrs.name);
      const table = supply === "param" ? params : supply === "state" ? states : undefined;
      if (table === undefined || table[name] !== undefined) continue;
      const shape = node.type.shape as readonly number[];
      table[name] = tensors.length;
      const arena = supply === "state" || trained.includes(name) ? "trained" : "frozen";
      tensors.push({ arena, page: 0, offset: 0, bytes: 4 * elements(shape), dtype: node.type.dtype, shape });
    }
  }
  const program: Program = {
    format: "peftc-program",
    version: 1,
    target: "reference",
    arithmetic: "f64",
    arenas: (["frozen", "trained"] as const).map((name) => ({
      name,
      pages: [tensors.filter((t) => t.arena === name).reduce((sum, t) => sum + t.bytes, 0)],
    })),
    tensors,
    kernels: [],
    entries: [...bound].map(([name, graph]) => ({
      name,
      steps: [],
      inputs: inputsOf(graph).map((n) => String(n.attrs.name)),
      outputs: graph.results.filter((r) => r.role === "output").map((r) => r.name),
      scalars: [],
    })),
    params,
    states,
    inputs: {},
    outputs: {},
    constants: [],
  };
  graphs.set(program, bound);
  return { program, notes: [], flops: {} };
}

const inputsOf = (graph: Graph): Node[] => order(graph.results.map((r) => r.node)).filter((n) => rowOf(n).supply === "input");

class Interpreted implements Session {
  readonly device = "reference";
  readonly memory: { planned: number; platform: number };
  private readonly held = { param: new Map<string, Values>(), state: new Map<string, Values>() };

  constructor(private readonly program: Program) {
    this.memory = { planned: memoryOf(program).total, platform: 0 };
  }
  async write(kind: "param" | "state", name: string, data: Values): Promise<void> {
    this.held[kind].set(name, data.slice());
  }
  async read(kind: "param" | "state", name: string): Promise<Values> {
    return this.held[kind].get(name)!.slice();
  }
  async run(entry: string, given: Readonly<Record<string, Values | number>>): Promise<Record<string, Values>> {
    const graph = graphs.get(this.program)!.get(entry);
    if (graph === undefined) throw new Bug(`the program has no entry ${entry}`);
    const inputs = new Map<string, Tensor>();
    for (const node of inputsOf(graph)) {
      const value = given[String(node.attrs.name)];
      inputs.set(
        String(node.attrs.name),
        tensorOf(node.type.dtype, node.type.shape as number[], typeof value === "number" ? [value] : value),
      );
    }
    const lookup = (kind: "param" | "state") => ({
      get: (name: string) => {
        const { dtype, shape } = this.program.tensors[this.program[`${kind}s`][name]];
        return tensorOf(dtype, shape, this.held[kind].get(name)!);
      },
    });
    const results = interpret(graph, { inputs, params: lookup("param"), states: lookup("state") });
    const outputs: Record<string, Values> = {};
    for (const { role, name } of graph.results) {
      const value = results.get(`${role}:${name}`)!;
      if (role === "output") outputs[name] = narrow(value.dtype, value.data);
      else this.held[role].set(name, narrow(value.dtype, value.data));
    }
    return outputs;
  }
  async close(): Promise<void> {}
}
