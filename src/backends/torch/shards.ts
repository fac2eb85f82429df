/**
 * Which parameters and states an update may have a part of on each process: what is computed elementwise alone, each element from those at its own place.
 * Sums of all elements are sums over processes. Whatever else reads a tensor needs it whole.
 */
import { type Graph, type Node, order } from "../../ir/graph.ts";
import { isExpand, isReshape, rowOf, splatOf, summedAxes } from "../../ir/ops/index.ts";

export interface Shards {
  /** Qualified names: `param:...`, `state:...`. */
  readonly names: ReadonlySet<string>;
  /** Sums over all elements of what processes have parts of, and sums of those. */
  readonly totals: ReadonlySet<Node>;
}

/** `gradients`: the parameter of each state that is its gradient. `elsewhere`: states that other entries read, which they read whole. */
export function shardsOf(graph: Graph, gradients: ReadonlyMap<string, string>, elsewhere: ReadonlySet<string>): Shards {
  const above = new Map<Node | string, Node | string>();
  const find = (x: Node | string): Node | string => {
    let at = x;
    while (above.has(at)) at = above.get(at)!;
    return at;
  };
  const whole = new Set<Node | string>();
  const join = (a: Node | string, b: Node | string) => {
    const [p, q] = [find(a), find(b)];
    if (p === q) return;
    above.set(p, q);
    if (whole.has(p)) whole.add(q);
  };
  const spoil = (x: Node | string) => whole.add(find(x));
  const neutral = (n: Node): boolean =>
    n.type.shape.length === 0 || splatOf(n) !== undefined || ((isExpand(n) || isReshape(n)) && neutral(n.inputs[0]));

  const nodes = order(graph.results.map((r) => r.node));
  const totals: Node[] = [];
  for (const n of nodes) {
    const { scalar, supply, role } = rowOf(n);
    if (supply === "param" || supply === "state") join(n, `${supply}:${String(n.attrs.name)}`);
    if (neutral(n) && supply === undefined) {
      // a number from something that is not one
      const axes = summedAxes(n);
      const all = axes !== undefined && axes.length === n.inputs[0].type.shape.length;
      if (all && !neutral(n.inputs[0])) totals.push(n);
      else for (const i of n.inputs) if (!neutral(i)) spoil(i);
      continue;
    }
    if (scalar !== undefined || role === "barrier") {
      for (const i of n.inputs) if (!neutral(i)) join(n, i);
      continue;
    }
    if (supply !== undefined) continue;
    spoil(n);
    for (const i of n.inputs) if (!neutral(i)) spoil(i);
  }
  for (const r of graph.results) {
    if (r.role === "output") {
      if (!neutral(r.node)) spoil(r.node);
    } else if (neutral(r.node)) {
      // the same number everywhere
    } else join(r.node, `${r.role}:${r.name}`);
  }
  const params = new Set<string>();
  for (const r of graph.results) if (r.role === "param") params.add(`param:${r.name}`);
  for (const [state, param] of gradients) {
    join(`state:${state}`, `param:${param}`);
    params.add(`param:${param}`);
  }
  for (const state of elsewhere) if (!gradients.has(state)) spoil(`state:${state}`);
  const parted = new Set([...params].map(find).filter((root) => !whole.has(root)));
  const names = new Set<string>();
  for (const n of nodes) {
    const { supply } = rowOf(n);
    if (supply === "param" || supply === "state") consider(`${supply}:${String(n.attrs.name)}`, n.type.shape.length);
  }
  for (const r of graph.results) if (r.role !== "output") consider(`${r.role}:${r.name}`, r.node.type.shape.length);
  function consider(name: string, rank: number): void {
    if (rank > 0 && parted.has(find(name))) names.add(name);
  }
  return { names, totals: outermost(nodes, new Set(totals.filter((n) => parted.has(find(n.inputs[0]))))) };
}

/** Sums of such sums, where nothing else reads a part: processes add up once. */
function outermost(nodes: readonly Node[], totals: Set<Node>): Set<Node> {
  const uses = new Map<Node, number>();
  for (const n of nodes) for (const i of n.inputs) uses.set(i, (uses.get(i) ?? 0) + 1);
  for (const n of nodes) {
    const parts = rowOf(n).scalar === "add" && n.inputs.every((i) => totals.has(i) && uses.get(i) === 1);
    if (!parts) continue;
    for (const i of n.inputs) totals.delete(i);
    totals.add(n);
  }
  return totals;
}
