/**
 * Whose each node of an update is: most of it is said of one parameter at a time, from its gradient and its states. What several parameters go into, as a norm
 * over all gradients, lies between.
 */
import { type Graph, type Node, order } from "../../ir/graph.ts";
import { isExpand, isReshape, rowOf, splatOf } from "../../ir/ops/index.ts";

/** A sum of numbers, some of which are of single parameters. */
interface Total {
  readonly parts: readonly Node[];
  /** Sums of parts that nothing else reads. */
  readonly inside: ReadonlySet<Node>;
}

export interface Owners {
  readonly nodes: readonly Node[];
  /** The parameter that a node belongs to; none: it is of all. */
  readonly of: ReadonlyMap<Node, string>;
  /** Even: what is of all; odd: what is of single parameters, and reads what is of all from before. */
  readonly phase: ReadonlyMap<Node, number>;
  readonly totals: ReadonlyMap<Node, Total>;
}

const neutral = (n: Node): boolean =>
  n.type.shape.length === 0 || splatOf(n) !== undefined || ((isExpand(n) || isReshape(n)) && neutral(n.inputs[0]));
const isAdd = (n: Node): boolean => rowOf(n).scalar === "add" && n.type.shape.length === 0;

/** `gradients`: the parameter of each state that is its gradient. `whole`: sums that stay as they are. */
export function ownersOf(graph: Graph, gradients: ReadonlyMap<string, string>, whole: ReadonlySet<Node>): Owners {
  const nodes = order(graph.results.map((r) => r.node));
  const component = components(graph, nodes, gradients);
  const uses = new Map<Node, number>();
  for (const n of [...nodes.flatMap((m) => m.inputs), ...graph.results.map((r) => r.node)]) uses.set(n, (uses.get(n) ?? 0) + 1);
  const of = new Map<Node, string>();
  const phase = new Map<Node, number>();
  const totals = new Map<Node, Total>();
  for (const n of nodes) {
    const owners = new Set(n.inputs.flatMap((i) => of.get(i) ?? []));
    if (isAdd(n)) {
      const merged = n.inputs.filter((i) => totals.has(i) && uses.get(i) === 1 && !whole.has(i));
      if (merged.length > 0 || owners.size > 1) {
        const parts = n.inputs.flatMap((i) => (merged.includes(i) ? totals.get(i)!.parts : [i]));
        const inside = new Set(merged.flatMap((i) => [i, ...totals.get(i)!.inside]));
        for (const i of merged) totals.delete(i);
        totals.set(n, { parts, inside });
        phase.set(n, Math.max(...parts.map((p) => phase.get(p)! + (of.has(p) ? 1 : 0))));
        continue;
      }
    }
    const own = neutral(n) ? (owners.size === 1 ? [...owners][0] : undefined) : component(n);
    if (own !== undefined) of.set(n, own);
    const here = own === undefined ? 0 : 1;
    const behind = (i: Node) => (of.get(i) === own ? 0 : here + (of.has(i) ? 1 : 0));
    phase.set(n, Math.max(here, ...n.inputs.map((i) => phase.get(i)! + behind(i))));
  }
  return { nodes, of, phase, totals };
}

/** Tensors that are computed from each other, numbers apart: the parameter of each, where there is one alone. */
function components(graph: Graph, nodes: readonly Node[], gradients: ReadonlyMap<string, string>): (n: Node) => string | undefined {
  const above = new Map<Node | string, Node | string>();
  const find = (x: Node | string): Node | string => {
    let at = x;
    while (above.has(at)) at = above.get(at)!;
    return at;
  };
  const join = (a: Node | string, b: Node | string) => {
    const [p, q] = [find(a), find(b)];
    if (p !== q) above.set(p, q);
  };
  // what is made of numbers alone is nobody's
  const somebodys = new Set<Node>();
  for (const n of nodes) {
    const { supply } = rowOf(n);
    const leaf = supply === "param" || supply === "state";
    if (leaf || n.inputs.some((i) => somebodys.has(i))) somebodys.add(n);
    if (leaf) join(n, `${supply}:${String(n.attrs.name)}`);
    else if (!neutral(n)) for (const i of n.inputs) if (!neutral(i) && somebodys.has(i)) join(n, i);
  }
  for (const r of graph.results) if (r.role !== "output" && !neutral(r.node)) join(r.node, `${r.role}:${r.name}`);
  for (const [state, param] of gradients) join(`state:${state}`, `param:${param}`);
  const params = new Map<Node | string, Set<string>>();
  const put = (name: string) => {
    const root = find(`param:${name}`);
    params.set(root, (params.get(root) ?? new Set()).add(name));
  };
  for (const r of graph.results) if (r.role === "param") put(r.name);
  for (const n of nodes) if (rowOf(n).supply === "param") put(String(n.attrs.name));
  return (n) => {
    const all = params.get(find(n));
    return all?.size === 1 ? [...all][0] : undefined;
  };
}
