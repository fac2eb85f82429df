/** The meaning of a graph: every row's `eval`, in f64. The `reference` device and the measure for all kernels. */
import { Bug } from "./errors.ts";
import { type Body, type Graph, type Node, node, order, type Result, sizes } from "./graph.ts";
import { attrsOf, rowOf, type Tensor } from "./ops/index.ts";

/** Finds a tensor by name; a `Map` is one. */
interface Lookup {
  get(name: string): Tensor | undefined;
}
export interface Supplies {
  readonly params?: Lookup;
  readonly states?: Lookup;
  readonly inputs?: Lookup;
}

/** How `interpret` names a result: `output:loss`, `param:wte.weight`, `state:m`. */
export const resultKey = (result: Pick<Result, "role" | "name">): string => `${result.role}:${result.name}`;

/**
 * Computes all results. The graph has bound sizes and no placeholders. Tensors are freed after their last use. Throws `Bug` if a source has
 * no value, or one of another type than its node.
 */
export function interpret(graph: Graph, supplies: Supplies): Map<string, Tensor> {
  const found = run(
    graph.results.map((r) => r.node),
    new Map(),
    supplies,
  );
  return new Map(graph.results.map((r, i) => [resultKey(r), found[i]]));
}

/** Computes nodes that need nothing handed in, or what `supplies` has. */
export function evaluate(nodes: readonly Node[], supplies: Supplies = {}): Tensor[] {
  return run(nodes, new Map(), supplies);
}

/** What a loop gives: carried-out values, and those exports that are read, by iteration and index. */
interface Outcome {
  readonly carried: readonly Tensor[];
  readonly exports: ReadonlyMap<string, Tensor>;
}

interface Order {
  readonly nodes: readonly Node[];
  readonly uses: ReadonlyMap<Node, number>;
  /** Of each loop: the exports that are read. */
  readonly reads: ReadonlyMap<Node, ReadonlySet<string>>;
}

const exportKey = (iteration: unknown, index: unknown): string => `${String(iteration)}.${String(index)}`;

function orderOf(roots: readonly Node[]): Order {
  const nodes = order(roots);
  const uses = new Map<Node, number>();
  const reads = new Map<Node, Set<string>>();
  const use = (n: Node) => uses.set(n, (uses.get(n) ?? 0) + 1);
  for (const n of nodes) {
    for (const i of n.inputs) use(i);
    const from = n.inputs[0];
    if (!from?.loop || n.attrs.output === "carried") continue;
    if (!reads.has(from)) reads.set(from, new Set());
    const iterations = n.attrs.output === "joined" ? from.loop.iterations.map((_, t) => t) : [n.attrs.iteration];
    for (const t of iterations) reads.get(from)!.add(exportKey(t, n.attrs.index));
  }
  for (const r of roots) use(r);
  return { nodes, uses, reads };
}

const bodyOrders = new WeakMap<Body, Order>();
function orderOfBody(body: Body): Order {
  let known = bodyOrders.get(body);
  if (!known) {
    known = orderOf(body.results);
    bodyOrders.set(body, known);
  }
  return known;
}

function run(roots: readonly Node[], args: ReadonlyMap<Node, Tensor>, supplies: Supplies, ordered = orderOf(roots)): Tensor[] {
  const values = new Map<Node, Tensor | Outcome>(args);
  const left = new Map(ordered.uses);
  for (const n of ordered.nodes) {
    const value = args.get(n) ?? computed(n, values, supplies, ordered);
    if ("data" in value) check(n, value);
    values.set(n, value);
    for (const i of n.inputs) {
      const rest = left.get(i)! - 1;
      left.set(i, rest);
      if (rest === 0) values.delete(i);
    }
  }
  return roots.map((r) => tensorOf(r, values));
}

function computed(n: Node, values: ReadonlyMap<Node, Tensor | Outcome>, supplies: Supplies, ordered: Order): Tensor | Outcome {
  if (n.loop) return runLoop(n, values, supplies, ordered.reads.get(n) ?? new Set());
  if (n.inputs[0]?.loop) {
    const outcome = values.get(n.inputs[0]) as Outcome;
    const value = readLoop(n, outcome);
    if (!value) throw new Bug(`${describe(n)} reads a result that its loop does not have`);
    return value;
  }
  const row = rowOf(n);
  if (row.supply) return supplied(n, row.supply, supplies);
  if (row.role === "placeholder") throw new Bug(`${describe(n)} is a placeholder: run the grad pass first`);
  return row.eval(
    n.inputs.map((i) => tensorOf(i, values)),
    n.attrs,
    n,
  );
}

function readLoop(n: Node, { carried, exports }: Outcome): Tensor | undefined {
  const { output, iteration, index } = attrsOf(n, "get");
  if (output === "carried") return carried[index];
  if (output === "export") return exports.get(exportKey(iteration, index));
  const parts = n.inputs[0].loop!.iterations.map((_, t) => exports.get(exportKey(t, index))!);
  return rowOf(CONCAT).eval(parts, CONCAT.attrs, CONCAT);
}
const CONCAT = node("concat", [], { axis: 0 }, { dtype: "f32", shape: [] }, { path: "" });

/** Rows `from..from + size` of the leading axis. */
function rowsOf({ dtype, shape, data }: Tensor, from: number, size: number): Tensor {
  const row = shape.slice(1).reduce((a, b) => a * b, 1);
  return { dtype, shape: [size, ...shape.slice(1)], data: data.slice(from * row, (from + size) * row) };
}

function supplied(n: Node, supply: "input" | "param" | "state" | "arg", supplies: Supplies): Tensor {
  if (supply === "arg") throw new Bug(`${describe(n)} stands outside its loop`);
  const lookup = supply === "input" ? supplies.inputs : supply === "param" ? supplies.params : supplies.states;
  const value = lookup?.get(String(n.attrs.name));
  if (!value) throw new Bug(`there is no value for the ${supply} ${String(n.attrs.name)}`);
  return value;
}

function runLoop(n: Node, values: ReadonlyMap<Node, Tensor | Outcome>, supplies: Supplies, reads: ReadonlySet<string>): Outcome {
  const { carried, bodies, iterations } = n.loop!;
  let state = n.inputs.slice(0, carried).map((i) => tensorOf(i, values));
  const exports = new Map<string, Tensor>();
  const done = new Map((n.loop!.sliced ?? []).map((k) => [k, 0]));
  iterations.forEach((iteration, t) => {
    const body = bodies[iteration.body];
    const args = iteration.args.map((k, i) => {
      const whole = tensorOf(n.inputs[carried + k], values);
      const from = done.get(k);
      if (from === undefined) return whole;
      const size = sizes(body.params[carried + i])[0];
      done.set(k, from + size);
      return rowsOf(whole, from, size);
    });
    const given = [...state, ...args];
    const results = run(body.results, new Map(body.params.map((p, i) => [p, given[i]])), supplies, orderOfBody(body));
    state = results.slice(0, carried);
    results.slice(carried).forEach((value, index) => {
      const key = exportKey(t, index);
      if (reads.has(key)) exports.set(key, value);
    });
  });
  return { carried: state, exports };
}

function tensorOf(n: Node, values: ReadonlyMap<Node, Tensor | Outcome>): Tensor {
  const value = values.get(n);
  if (!value || !("data" in value)) throw new Bug(`${describe(n)} has no value here`);
  return value;
}

function check(n: Node, value: Tensor): void {
  const shape = sizes(n);
  const fits = value.dtype === n.type.dtype && value.shape.length === shape.length && value.shape.every((d, i) => d === shape[i]);
  if (!fits)
    throw new Bug(`${describe(n)} is ${n.type.dtype}[${shape.join(", ")}], but its value is ${value.dtype}[${value.shape.join(", ")}]`);
}

const describe = (n: Node): string =>
  `${n.op}${n.attrs.name === undefined ? "" : ` ${String(n.attrs.name)}`}${n.origin.path ? ` of ${n.origin.path}` : ""}`;
