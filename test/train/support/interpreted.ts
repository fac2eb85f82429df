/** An engine over the f64 interpreter, for tests of what training does around a device. Values are stored as f32, as devices store them. */
import { differentiate } from "../../../src/ir/autodiff.ts";
import { bind } from "../../../src/ir/bind.ts";
import { Builder } from "../../../src/ir/build.ts";
import { type Graph, type Node, order } from "../../../src/ir/graph.ts";
import { interpret } from "../../../src/ir/interpret.ts";
import { rowOf, type Tensor } from "../../../src/ir/ops/index.ts";
import type { Program, Session, Values } from "../../../src/runtime/program.ts";
import type { Built, Engine, EntryPoint } from "../../../src/train/engine.ts";
import { elements, narrow, tensorOf } from "../../../src/train/values.ts";

const graphs = new WeakMap<Program, ReadonlyMap<string, Graph>>();

export function interpretedEngine(over: Partial<Engine> = {}): Engine {
  return {
    device: "reference",
    reason: "a test asks for it",
    memory: 1e9,
    depth: 2,
    build: async (entries) => build(entries),
    open: async ({ program }) => new Interpreted(program),
    ...over,
  };
}

/** Sizes whose value is given when the graph runs. */
function growing(entry: EntryPoint): Map<string, Node> {
  const b = new Builder({ path: "" });
  return new Map((entry.growing ?? []).map((name) => [name, b.input(name, { dtype: "i32", shape: [] })]));
}

function build(entries: readonly EntryPoint[]): Built {
  const bound = new Map(entries.map((e) => [e.name, differentiate(bind(e.graph, e.sizes, { values: growing(e) }))]));
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
      tensors.push({ arena: "trained", page: 0, offset: 0, bytes: 4 * elements(shape), dtype: node.type.dtype, shape });
    }
  }
  const program: Program = {
    format: "peftc-program",
    version: 1,
    target: "wasm",
    arithmetic: "f64",
    arenas: [{ name: "trained", pages: [tensors.reduce((sum, t) => sum + t.bytes, 0)] }],
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
    this.memory = { planned: program.arenas[0].pages[0], platform: 0 };
  }
  async write(kind: "param" | "state", name: string, data: Values): Promise<void> {
    this.held[kind].set(name, data.slice());
  }
  async read(kind: "param" | "state", name: string): Promise<Values> {
    return this.held[kind].get(name)!.slice();
  }
  async run(entry: string, given: Readonly<Record<string, Values | number>>): Promise<Record<string, Values>> {
    const graph = graphs.get(this.program)!.get(entry);
    if (graph === undefined) throw new Error(`no entry ${entry}`);
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
