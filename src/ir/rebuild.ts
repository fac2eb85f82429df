/** Rebuilding graphs: the one walk that passes over whole graphs share, and questions about the shape of a node. */
import { type Graph, type Node, node } from "./graph.ts";
import { attrsOf, rowOf } from "./ops/index.ts";

/** The same node on other operands of the same types; the node itself if they are the same. */
export function withInputs(n: Node, inputs: readonly Node[]): Node {
  return inputs.every((x, i) => x === n.inputs[i]) ? n : node(n.op, inputs, n.attrs, n.type, n.origin, n.loop);
}

/**
 * Maps what `roots` reach, operands first. `known` holds nodes that are settled already (they and what only they reach are not visited),
 * and afterwards all others. Does not enter loop bodies.
 */
export function rebuild(
  roots: readonly Node[],
  known: Map<Node, Node>,
  change: (n: Node, inputs: readonly Node[]) => Node = withInputs,
): Node[] {
  for (const n of orderUntil(roots, (x) => known.has(x))) {
    if (known.has(n)) continue;
    known.set(
      n,
      change(
        n,
        n.inputs.map((i) => known.get(i)!),
      ),
    );
  }
  return roots.map((r) => known.get(r)!);
}

/** The graph with other nodes for its results, in their order; itself if they are the same. */
export function withRoots(graph: Graph, roots: readonly Node[]): Graph {
  if (roots.every((r, i) => r === graph.results[i].node)) return graph;
  return { results: graph.results.map((r, i) => ({ ...r, node: roots[i] })) };
}

/** A graph whose nodes are mapped: see `rebuild`. */
export const rebuildGraph = (graph: Graph, known: Map<Node, Node>, change?: (n: Node, inputs: readonly Node[]) => Node): Graph =>
  withRoots(
    graph,
    rebuild(
      graph.results.map((r) => r.node),
      known,
      change,
    ),
  );

/** As `order`, but what `stop` says is a leaf: it is listed, its operands are not reached through it. */
export function orderUntil(roots: readonly Node[], stop: (n: Node) => boolean): Node[] {
  const done = new Set<Node>();
  const out: Node[] = [];
  const path: Node[] = [];
  const next: number[] = [];
  const open = (n: Node): void => {
    done.add(n);
    path.push(n);
    next.push(stop(n) ? n.inputs.length : 0);
  };
  for (const root of roots) {
    if (done.has(root)) continue;
    open(root);
    while (path.length) {
      const top = path.length - 1;
      const { inputs } = path[top];
      let i = next[top];
      while (i < inputs.length && done.has(inputs[i])) i++;
      next[top] = i + 1;
      if (i < inputs.length) {
        open(inputs[i]);
        continue;
      }
      out.push(path[top]);
      path.pop();
      next.pop();
    }
  }
  return out;
}

/** Whether a node reads a result of a loop. */
export const isGet = (n: Node): boolean => !n.loop && rowOf(n).role === "region";

/** Which result a `get` reads: of which iteration (the last for a carried-out value), at which place among the body's results. */
export function readOf(get: Node): { readonly loop: Node; readonly iteration: number; readonly result: number } {
  const loop = get.inputs[0];
  const { carried, iterations } = loop.loop!;
  const index = attrsOf(get, "get").index;
  if (get.attrs.output === "carried") return { loop, iteration: iterations.length - 1, result: index };
  return { loop, iteration: attrsOf(get, "get").iteration!, result: carried + index };
}

/** A read of an export that the loop has, or is about to have. */
export const exportRead = (loop: Node, iteration: number, index: number, of: Node): Node =>
  node("get", [loop], { output: "export", iteration, index }, of.type, loop.origin);

/** A `get` of a carried-out value. */
export const carriedRead = (loop: Node, index: number): Node =>
  node("get", [loop], { output: "carried", index }, loop.inputs[index].type, loop.origin);

/**
 * Nodes of a body whose value is the same in all iterations by construction: they reach no parameter, only constants and what is cheap to
 * compute from them. Cheap means elementwise, or moved about.
 */
export function constantNodes(nodes: readonly Node[], opaque: (n: Node) => boolean = () => false): Set<Node> {
  const out = new Set<Node>();
  for (const n of nodes) {
    const { role, supply } = rowOf(n);
    const cheap = role === "source" || role === "map" || role === "sum" || role === "scale" || role === "move";
    if (cheap && !supply && !opaque(n) && n.inputs.every((i) => out.has(i))) out.add(n);
  }
  return out;
}
