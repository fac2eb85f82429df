/**
 * The forward half as a chain: each value has a level, which is the iteration of the loop it was written in; what comes behind all iterations is a level
 * of its own. Backwards, levels are met last first, so what is recomputed for one level must not need what is recomputed for a later one.
 */
import { nameOf } from "../../depth/layers.ts";
import { type Iteration, type Node, order } from "../../graph.ts";
import { isCouple } from "../../ops/index.ts";
import { choose } from "./choose.ts";

export interface Levels {
  /** Levels are 0..count-1. */
  readonly count: number;
  of(n: Node): number;
  /** By level, for all but the last: the smallest set of values from which later levels can be had with cheap work alone. */
  readonly separators: readonly ReadonlySet<Node>[];
}

function outermost(iteration: Iteration | undefined): Iteration | undefined {
  let t = iteration;
  while (t?.outer) t = t.outer;
  return t;
}

/** Levels of iterations that cannot run backwards, of a graph in which others do: these are there for the memory they save. */
export function forwardOnly(nodes: readonly Node[], levels: Levels): Set<number> {
  const iterations = new Set<number>();
  const backwards = new Set<number>();
  for (const n of nodes) {
    if (n.backward) continue;
    if (n.origin.iteration) iterations.add(levels.of(n));
    if (isCouple(n)) backwards.add(levels.of(n));
  }
  return backwards.size > 0 ? new Set([...iterations].filter((l) => !backwards.has(l))) : new Set();
}

/** `nodes`: all of the graph, operands first. */
export function levelsOf(nodes: readonly Node[], results: readonly Node[], free: (n: Node) => boolean): Levels {
  const forward = nodes.filter((n) => !n.backward);
  const needed = new Set(order(results.filter((n) => !n.backward)));
  /** What is prepared for a loop of gradients, and for nothing else, has no place among the iterations of the forward half: those of gradients come last first. */
  const iterationOf = (n: Node): Iteration | undefined => {
    const iteration = outermost(n.origin.iteration);
    return iteration && (needed.has(n) || nameOf(iteration.loop) === iteration.loop) ? iteration : undefined;
  };
  const base = new Map<string, number>();
  let end = 0;
  for (const n of forward) {
    const iteration = iterationOf(n);
    if (!iteration || base.has(iteration.loop)) continue;
    base.set(iteration.loop, end);
    end += iteration.of;
  }
  // From the last node to the first: a value is of the earliest iteration that needs it, whichever iteration's place it carries. What no iteration needs comes behind.
  const level = new Map<Node, number>(forward.map((n) => [n, end]));
  for (let i = forward.length - 1; i >= 0; i--) {
    const n = forward[i];
    const iteration = iterationOf(n);
    const at = Math.min(level.get(n)!, iteration ? base.get(iteration.loop)! + iteration.iteration : end);
    level.set(n, at);
    for (const x of n.inputs) level.set(x, Math.min(level.get(x)!, at));
  }
  // What no forward result needs was written for the backward half: it is of the level whose values it is made of.
  for (const n of forward)
    if (!iterationOf(n) && !needed.has(n))
      level.set(
        n,
        n.inputs.reduce((most, x) => Math.max(most, level.get(x)!), 0),
      );
  // numbers without gaps
  const used = [...new Set(level.values())].sort((x, y) => x - y);
  const rank = new Map(used.map((l, i) => [l, i]));
  const of = (n: Node): number => rank.get(level.get(n)!)!;
  return { count: used.length, of, separators: separatorsOf(forward, used.length, of, free) };
}

function separatorsOf(forward: readonly Node[], count: number, of: (n: Node) => number, free: (n: Node) => boolean): Set<Node>[] {
  const last = new Map<Node, number>();
  for (const n of forward) for (const x of n.inputs) last.set(x, Math.max(last.get(x) ?? 0, of(n)));
  const crossing = Array.from({ length: Math.max(0, count - 1) }, () => [] as Node[]);
  for (const n of forward) if (!n.loop && !free(n)) for (let t = of(n); t < (last.get(n) ?? 0); t++) crossing[t].push(n);
  const out: Set<Node>[] = [];
  for (const wanted of crossing) {
    // What the level before keeps is there: a value that passes by is kept once.
    const before = out.at(-1) ?? new Set<Node>();
    const { kept, recomputed } = choose(wanted, { free: (n) => free(n) || before.has(n) });
    const read = [...wanted, ...[...recomputed].flatMap((n) => n.inputs)];
    out.push(new Set([...kept, ...read.filter((n) => before.has(n))]));
  }
  return out;
}
