/**
 * The reference device: interprets the graphs themselves, in f64. Slow, and the meaning: what other devices compute is measured against it.
 * Parameters and states are kept in f64 between runs and what is read is rounded to f32, or are rounded as they are kept.
 */

import type { HostScalar, Session, Values } from "../ground/program.ts";
import type { Weights } from "../ground/weights.ts";
import { Bug, InputError } from "../ir/errors.ts";
import { type Graph, type Node, order, sizes } from "../ir/graph.ts";
import { interpret, resultKey } from "../ir/interpret.ts";
import { rowOf, type Tensor, tensor } from "../ir/ops/index.ts";
import { DeviceLost } from "./errors.ts";
import { arrayOf } from "./host.ts";
import { evaluateScalars } from "./scalars.ts";
import { wholeOf } from "./weights.ts";

export interface ReferenceEntry {
  readonly name: string;
  /** Sizes bound, no placeholders; loops may be left. */
  readonly graph: Graph;
  readonly scalars?: readonly HostScalar[];
}

type Kind = "param" | "state";

class ReferenceSession implements Session {
  readonly device = "reference, f64";
  readonly memory: { readonly planned: number; readonly platform: number };
  private readonly kept: Record<Kind, Map<string, Tensor>> = { param: new Map(), state: new Map() };
  private readonly inputs = new Map<string, Map<string, Node>>();
  private readonly declared: Record<Kind, Map<string, Node>> = { param: new Map(), state: new Map() };
  private closed = false;

  constructor(
    private readonly entries: readonly ReferenceEntry[],
    private readonly rounded: boolean,
  ) {
    for (const { name, graph } of entries) {
      const inputs = new Map<string, Node>();
      for (const n of order(graph.results.map((r) => r.node))) {
        const { supply } = rowOf(n);
        if (supply === "param" || supply === "state") this.declared[supply].set(String(n.attrs.name), n);
        else if (supply === "input") inputs.set(String(n.attrs.name), n);
      }
      for (const r of graph.results)
        if (r.role !== "output" && !this.declared[r.role].has(r.name)) this.declared[r.role].set(r.name, r.node);
      this.inputs.set(name, inputs);
    }
    const all = [...this.declared.param.values(), ...this.declared.state.values()];
    this.memory = { planned: all.reduce((sum, n) => sum + 8 * sizes(n).reduce((a, b) => a * b, 1), 0), platform: 0 };
  }

  async write(kind: Kind, name: string, data: Values | Weights): Promise<void> {
    const n = this.find(kind, name);
    this.kept[kind].set(name, this.tensorFor(n, await wholeOf(data), `${kind} ${name}`));
  }

  async read(kind: Kind, name: string): Promise<Values> {
    const n = this.find(kind, name);
    const value = this.kept[kind].get(name);
    if (!value) throw new InputError("P0801", `${kind} ${name} has not been written`);
    return arrayOf(n.type.dtype, value.data);
  }

  async run(name: string, inputs: Readonly<Record<string, Values | number>>, outputs?: readonly string[]): Promise<Record<string, Values>> {
    if (this.closed) throw new DeviceLost("the session is closed");
    const entry = this.entries.find((e) => e.name === name);
    if (!entry) throw new InputError("P0801", `there is no entry ${name}`, [`there are: ${this.entries.map((e) => e.name).join(", ")}`]);
    const numbers: Record<string, number> = {};
    for (const [key, value] of Object.entries(inputs)) if (typeof value === "number") numbers[key] = value;
    const scalars = evaluateScalars(entry.scalars ?? [], numbers);
    const supplied = new Map<string, Tensor>();
    for (const [key, n] of this.inputs.get(name) ?? []) {
      const value = scalars[key] ?? inputs[key];
      if (value === undefined) throw new InputError("P0801", `${name} needs the input \`${key}\``);
      supplied.set(key, this.tensorFor(n, typeof value === "number" ? [value] : value, `the input \`${key}\` of ${name}`));
    }
    const found = interpret(entry.graph, { params: this.kept.param, states: this.kept.state, inputs: supplied });
    const out: Record<string, Values> = {};
    for (const r of entry.graph.results) {
      const value = found.get(resultKey(r));
      if (!value) throw new Bug(`the interpreter gave no ${r.role} ${r.name}`);
      if (r.role !== "output")
        this.kept[r.role].set(r.name, this.rounded ? { ...value, data: Float64Array.from(arrayOf(value.dtype, value.data)) } : value);
      else if (!outputs || outputs.includes(r.name)) out[r.name] = arrayOf(value.dtype, value.data);
    }
    for (const o of outputs ?? []) if (!(o in out)) throw new InputError("P0801", `${name} has no output ${o}`);
    return out;
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  private find(kind: Kind, name: string): Node {
    const n = this.declared[kind].get(name);
    if (!n) throw new InputError("P0801", `the program has no ${kind} ${name}`);
    return n;
  }
  private tensorFor(n: Node, data: ArrayLike<number>, what: string): Tensor {
    const count = sizes(n).reduce((a, b) => a * b, 1);
    if (data.length !== count) throw new InputError("P0801", `${what} has ${count} elements, not ${data.length}`);
    return tensor(n.type.dtype, sizes(n), Float64Array.from(data));
  }
}

interface ReferenceOptions {
  /** Round parameters and states to f32 after every run, as devices that store them so: what is read and written back then changes nothing. */
  readonly rounded?: boolean;
}

/** A session over graphs rather than over a compiled program. */
export const openReference = (entries: readonly ReferenceEntry[], { rounded = false }: ReferenceOptions = {}): Session =>
  new ReferenceSession(entries, rounded);
