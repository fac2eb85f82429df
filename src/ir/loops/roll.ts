/** Gathers the iterations of static loops, which the elaborator writes out, into loop nodes. */
import { type Graph, type Node, order } from "../graph.ts";
import { rebuild, withRoots } from "../rebuild.ts";
import { makeLoopOf } from "./bodies.ts";
import { encodeIterations } from "./encode.ts";
import { assignIterations } from "./iterations.ts";
import { tagsOf } from "./names.ts";
import { sink } from "./sink.ts";

/**
 * The graph with a `loop` node for each static loop whose iterations can be told apart: iterations of equal structure share a body; values go from a
 * iteration to the next, or leave. Outermost loops first, then those in their bodies; a loop that cannot be formed stays flat, and those inside
 * it are tried. What each value is does not change.
 */
export function roll(graph: Graph): Graph {
  const roots = rollNodes(graph.results.map((r) => r.node));
  return withRoots(graph, roots);
}

interface Tag {
  readonly key: string;
  readonly iteration: number;
  readonly of: number;
  /** How many tags lie around the loop's own, itself included. */
  readonly level: number;
}

function rollNodes(roots: readonly Node[]): Node[] {
  /** Loops that stay flat; loops in their iterations are told apart by the iteration. */
  const flat = new Set<string>();
  const tagOf = (n: Node): Tag | undefined => {
    if (!n.origin.iteration) return undefined;
    let prefix = "";
    for (const [i, { loop, iteration, of }] of tagsOf(n).entries()) {
      const key = `${prefix}${loop}`;
      if (!flat.has(key)) return { key, iteration, of, level: i + 1 };
      prefix = `${key}#${iteration}/`;
    }
    return undefined;
  };
  let current = [...roots];
  for (;;) {
    const nodes = order(current);
    const tags = new Map(nodes.map((n) => [n, tagOf(n)]));
    const seen = new Map<string, { readonly tag: Tag; readonly iterations: Set<number> }>();
    for (const tag of tags.values()) {
      if (!tag) continue;
      if (!seen.has(tag.key)) seen.set(tag.key, { tag, iterations: new Set() });
      seen.get(tag.key)!.iterations.add(tag.iteration);
    }
    if (seen.size === 0) return current;
    for (const [key, { iterations }] of seen) if (iterations.size < 2) flat.add(key);
    // Loops are tried in the order in which their nodes come.
    const next = [...seen.values()].find(({ iterations }) => iterations.size > 1)?.tag;
    if (!next) continue;
    flat.add(next.key);
    current = rollLoop(current, nodes, next, (n) => (tags.get(n)?.key === next.key ? tags.get(n)!.iteration : undefined)) ?? current;
  }
}

function rollLoop(roots: readonly Node[], nodes: readonly Node[], tag: Tag, tagged: (n: Node) => number | undefined): Node[] | undefined {
  const members = assignIterations(nodes, tagged);
  if (!members) return undefined;
  sink(nodes, members);
  const named = { id: tag.key, of: tag.of, level: tag.level };
  const reads = makeLoopOf(encodeIterations(nodes, members), members, usedOutside(roots, nodes, members.iterationOf), named, rollNodes);
  return rebuild(roots, reads);
}

/** Nodes of the loop that something outside it reads. */
function usedOutside(roots: readonly Node[], nodes: readonly Node[], iterationOf: ReadonlyMap<Node, number>): Set<Node> {
  const out = new Set(roots.filter((r) => iterationOf.has(r)));
  for (const n of nodes) if (!iterationOf.has(n)) for (const i of n.inputs) if (iterationOf.has(i)) out.add(i);
  return out;
}
