/** The cut of a flat graph: what is kept, what is recomputed from it where it is read, and what is recomputed along the way there. */
import { type Graph, type Node, node, type Origin } from "../../graph.ts";
import { isCouple, rowOf } from "../../ops/index.ts";
import { rebuild, withInputs } from "../../rebuild.ts";
import { type Choice, cheap, choose } from "./choose.ts";
import { crossing, type Halves } from "./halves.ts";
import type { Levels } from "./levels.ts";

/** How much is recomputed: a step of the scale. */
export interface Recompute {
  /** Bytes that a second of recomputing must save, by level; `Infinity`: what is cheap is recomputed, and nothing else. */
  price(level: number): number;
  /** Separators that are not kept, by level: they are recomputed from the one below, each once, when the backward half gets there. */
  readonly dropped: ReadonlySet<number>;
}

export interface FlatChoice extends Choice {
  /** Recomputed to get from one separator that is kept to those behind it that are not. */
  readonly walked: ReadonlySet<Node>;
}

/** What `how` asks for. Separators are kept or dropped whatever they cost, so that no level needs what is recomputed for another. */
export function chooseFlat(halves: Halves, levels: Levels, how: Recompute, seconds: (n: Node) => number): FlatChoice {
  const required = [...crossing(halves)].filter((n) => !halves.free(n));
  const { separators } = levels;
  const held = new Set<Node>();
  const needed = new Set<Node>();
  separators.forEach((s, t) => {
    for (const n of s) (how.dropped.has(t) ? needed : held).add(n);
  });
  const dropped = [...needed].filter((n) => !held.has(n));
  const price = (n: Node): number => {
    const price = how.price(levels.of(n));
    if (price === Number.POSITIVE_INFINITY) return cheap(n) && !n.inputs.some(isCouple) ? 0 : price;
    return repeatable(n) ? price * seconds(n) : Number.POSITIVE_INFINITY;
  };
  const near = choose(required, { free: (n) => halves.free(n) || held.has(n) || needed.has(n), price });
  const walked = new Set<Node>();
  const stack = [...dropped];
  while (stack.length) {
    const n = stack.pop()!;
    if (walked.has(n) || halves.free(n) || held.has(n)) continue;
    walked.add(n);
    stack.push(...n.inputs);
  }
  const used = new Set([...required, ...[...near.recomputed, ...walked].flatMap((n) => n.inputs)]);
  return { kept: new Set([...near.kept, ...[...held].filter((n) => used.has(n))]), recomputed: near.recomputed, walked };
}

/** Computed by kernels, from operands alone. */
const repeatable = (n: Node): boolean => {
  const { role, supply } = rowOf(n);
  // loops over slices are repeated whole; loops of layers are cut body by body
  if (role === "region") return (n.loop ?? n.inputs[0].loop)!.sliced !== undefined;
  // a reversible stream is there until the one before it is found; what it leaves behind is a remainder of integers, so that it need not be kept
  if (n.inputs.some(isCouple)) return false;
  return n.type.dtype !== "i32" && supply === undefined && role !== "host" && role !== "placeholder";
};

/** The graph whose backward half recomputes what was chosen. What is walked has copies of its own, which live no longer than the walk. */
export function applyFlat(graph: Graph, { recomputed, walked }: FlatChoice, separated: ReadonlySet<Node>): Graph {
  if (recomputed.size === 0 && walked.size === 0) return graph;
  const copy = (n: Node, inputs: readonly Node[], recomputed: Origin["recomputed"]): Node =>
    node(n.op, inputs, n.attrs, n.type, { ...n.origin, half: "backward", recomputed }, n.loop);
  const ends = [...walked].filter((n) => separated.has(n));
  const steps = new Map<Node, Node>();
  rebuild(ends, steps, (n, inputs) => (walked.has(n) ? copy(n, inputs, "on the way") : n));
  const known = new Map<Node, Node>(ends.map((n) => [n, steps.get(n)!]));
  const change = (n: Node, inputs: readonly Node[]): Node => {
    if (recomputed.has(n)) return copy(n, inputs, "here");
    return n.backward ? withInputs(n, inputs) : n;
  };
  return {
    // A forward result is what it was; only the backward half reads the copies.
    results: graph.results.map((r) => (r.node.backward ? { ...r, node: rebuild([r.node], known, change)[0] } : r)),
  };
}
