/**
 * The `reference` device: graphs are not lowered but interpreted, node by node in f64. Between runs, values are stored as other devices store them (f32,
 * 4-byte integers), so what trains here differs from other devices by their rounding inside a run only. Slow.
 */

import type { Program } from "../../ground/program.ts";
import { differentiate } from "../../ir/autodiff.ts";
import { bind } from "../../ir/bind.ts";
import { Bug, type Graph, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { openReference, type ReferenceEntry } from "../../runtime/reference.ts";
import { elements } from "../values.ts";
import { valuesOf } from "./backend.ts";
import { bareProgram } from "./bare.ts";
import type { Built, Engine, EntryPoint } from "./engine.ts";

const graphs = new WeakMap<Program, ReadonlyMap<string, Graph>>();

function entriesOf(program: Program): ReferenceEntry[] {
  const known = graphs.get(program);
  if (known === undefined) throw new Bug("the reference device runs only what it built itself");
  return [...known].map(([name, graph]) => ({ name, graph }));
}

/** `over`: for tests, whatever the engine should say instead. */
export function referenceEngine(over: Partial<Engine> = {}): Engine {
  return {
    device: "reference",
    reason: "asked for",
    memory: 4 * 2 ** 30,
    depth: 2,
    build: async (entries, options) => build(entries, options.trained),
    open: async ({ program }) => openReference(entriesOf(program), { rounded: true }),
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
  const program = bareProgram({
    target: "reference",
    arithmetic: "f64",
    arenas: (["frozen", "trained"] as const).map((name) => ({
      name,
      pages: [tensors.filter((t) => t.arena === name).reduce((sum, t) => sum + t.bytes, 0)],
    })),
    tensors,
    entries: [...bound].map(([name, graph]) => ({
      name,
      inputs: order(graph.results.map((r) => r.node)).flatMap((n) => (rowOf(n).supply === "input" ? [String(n.attrs.name)] : [])),
      outputs: graph.results.filter((r) => r.role === "output").map((r) => r.name),
    })),
    params,
    states,
  });
  graphs.set(program, bound);
  return { program, notes: [], rounded: [], flops: {}, recomputed: {}, seconds: {} };
}
