/** Gathers the turns of static loops, which the elaborator writes out, into loop nodes. */
import { type Graph, type Node, order } from "../graph.ts";
import { rebuild } from "../rebuild.ts";
import { makeLoopOf } from "./bodies.ts";
import { encodeTurns } from "./encode.ts";
import { tagsOf } from "./names.ts";
import { sink } from "./sink.ts";
import { assignTurns } from "./turns.ts";

/**
 * The graph with a `loop` node for each static loop whose turns can be told apart: turns of equal structure share a body; values go from a
 * turn to the next, or leave. Outermost loops first, then those in their bodies; a loop that cannot be formed stays flat, and those inside
 * it are tried. What each value is does not change.
 */
export function roll(graph: Graph): Graph {
  const roots = rollNodes(graph.results.map((r) => r.node));
  return { results: graph.results.map((r, i) => ({ ...r, node: roots[i] })) };
}

interface Tag {
  readonly key: string;
  readonly turn: number;
  readonly of: number;
  /** How many tags lie around the loop's own, itself included. */
  readonly level: number;
}

function rollNodes(roots: readonly Node[]): Node[] {
  /** Loops that stay flat; loops in their turns are told apart by the turn. */
  const flat = new Set<string>();
  const tagOf = (n: Node): Tag | undefined => {
    if (!n.origin.turn) return undefined;
    let prefix = "";
    for (const [i, { loop, turn, of }] of tagsOf(n).entries()) {
      const key = `${prefix}${loop}`;
      if (!flat.has(key)) return { key, turn, of, level: i + 1 };
      prefix = `${key}#${turn}/`;
    }
    return undefined;
  };
  let current = [...roots];
  for (;;) {
    const nodes = order(current);
    const tags = new Map(nodes.map((n) => [n, tagOf(n)]));
    const seen = new Map<string, { readonly tag: Tag; readonly turns: Set<number> }>();
    for (const tag of tags.values()) {
      if (!tag) continue;
      if (!seen.has(tag.key)) seen.set(tag.key, { tag, turns: new Set() });
      seen.get(tag.key)!.turns.add(tag.turn);
    }
    if (seen.size === 0) return current;
    for (const [key, { turns }] of seen) if (turns.size < 2) flat.add(key);
    // Loops are tried in the order in which their nodes come.
    const next = [...seen.values()].find(({ turns }) => turns.size > 1)?.tag;
    if (!next) continue;
    flat.add(next.key);
    current = rollLoop(current, nodes, next, (n) => (tags.get(n)?.key === next.key ? tags.get(n)!.turn : undefined)) ?? current;
  }
}

function rollLoop(roots: readonly Node[], nodes: readonly Node[], tag: Tag, tagged: (n: Node) => number | undefined): Node[] | undefined {
  const members = assignTurns(nodes, tagged);
  if (!members) return undefined;
  sink(nodes, members);
  const named = { id: tag.key, of: tag.of, level: tag.level };
  const reads = makeLoopOf(encodeTurns(nodes, members), members, usedOutside(roots, nodes, members.turnOf), named, rollNodes);
  return rebuild(roots, reads);
}

/** Nodes of the loop that something outside it reads. */
function usedOutside(roots: readonly Node[], nodes: readonly Node[], turnOf: ReadonlyMap<Node, number>): Set<Node> {
  const out = new Set(roots.filter((r) => turnOf.has(r)));
  for (const n of nodes) if (!turnOf.has(n)) for (const i of n.inputs) if (turnOf.has(i)) out.add(i);
  return out;
}
