/** Which values to keep for the backward half, and which to recompute there. */
import { Bug } from "../../errors.ts";
import { type Node, sizes } from "../../graph.ts";
import { foldedAxes, rowOf } from "../../ops/index.ts";
import { FlowNetwork } from "./flow.ts";

/** What a value takes where it is kept: every dtype has four bytes an element. A loop is no value; what is read of it is. */
export const bytesOf = (n: Node): number => (n.loop ? Number.POSITIVE_INFINITY : 4 * sizes(n).reduce((p, d) => p * d, 1));

/**
 * Whether computing a node again is cheap enough to do so: elementwise functions, movement, draws, and reductions of whole rows. Products,
 * scans, indexing, loops and what the host computes are not.
 */
export function cheap(n: Node): boolean {
  const { role, supply } = rowOf(n);
  switch (role) {
    case "map":
    case "sum":
    case "scale":
    case "move":
    case "barrier":
      return true;
    case "source":
      return !supply;
    case "reduce": {
      const [x] = n.inputs;
      const axes = foldedAxes(n);
      const first = x.type.shape.length - axes.length;
      return axes.every((a) => a >= first);
    }
    default:
      return false;
  }
}

export interface Choice {
  readonly kept: ReadonlySet<Node>;
  /** Recomputed in the backward half. */
  readonly recomputed: ReadonlySet<Node>;
}

interface ChoiceRules {
  /** Costs nothing to have. */
  readonly free: (n: Node) => boolean;
  /** What keeping costs: bytes, if left out. */
  readonly cost?: (n: Node) => number;
  /** What computing again costs, in the same unit; `Infinity`: it is not done. If left out, what is cheap costs nothing, all else is not done. */
  readonly price?: (n: Node) => number;
}

const cheapAlone = (n: Node): number => (cheap(n) ? 0 : Number.POSITIVE_INFINITY);

/**
 * The cheapest set of values from which all of `required` can be had: a minimum cut of the graph whose vertices are values,
 * split in two by an edge of what keeping them costs; an edge from the source stands for computing a value again. Among cheapest sets the
 * one that computes least again. As the price of computing falls, the kept set only shrinks towards the source.
 */
export function choose(required: Iterable<Node>, { free, cost = bytesOf, price = cheapAlone }: ChoiceRules): Choice {
  const wanted = [...new Set(required)].filter((n) => !free(n));
  const index = new Map<Node, number>();
  const values: Node[] = [];
  const add = (n: Node): void => {
    if (index.has(n) || free(n)) return;
    index.set(n, values.push(n) - 1);
  };
  wanted.forEach(add);
  const prices: number[] = [];
  for (let i = 0; i < values.length; i++) {
    prices.push(price(values[i]));
    if (prices[i] < Number.POSITIVE_INFINITY) values[i].inputs.forEach(add);
  }
  /** What each is computed from, where that is no infinite price. */
  const operands = values.map((n, i) => (prices[i] < Number.POSITIVE_INFINITY ? n.inputs.flatMap((x) => index.get(x) ?? []) : []));
  const ends = new Set(wanted.map((n) => index.get(n)!));
  const kept = new Set<Node>();
  const recomputed = new Set<Node>();
  const solved = new Map<string, readonly Side[]>();
  const sideOf = new Array<Side>(values.length);
  for (const part of parts(operands)) {
    // levels of equal layers hang together in themselves, and are cut alike
    const at = new Map(part.map((i, k) => [i, k]));
    const problem = part.map(
      (i): Value => ({
        cost: cost(values[i]),
        price: prices[i],
        wanted: ends.has(i),
        operands: operands[i].map((j) => at.get(j)!),
      }),
    );
    const key = problem.map((v) => `${v.cost} ${v.price} ${v.wanted} ${v.operands}`).join("\n");
    const sides = solved.get(key) ?? cheapest(problem);
    solved.set(key, sides);
    sides.forEach((side, k) => {
      sideOf[part[k]] = side;
    });
  }
  values.forEach((n, i) => {
    if (sideOf[i] === "kept") kept.add(n);
    if (sideOf[i] === "recomputed") recomputed.add(n);
  });
  return { kept, recomputed };
}

type Side = "kept" | "recomputed" | "left";
interface Value {
  readonly cost: number;
  readonly price: number;
  readonly wanted: boolean;
  readonly operands: readonly number[];
}

/** Values that hang together, each list in ascending order. */
function parts(operands: readonly (readonly number[])[]): number[][] {
  const parent = operands.map((_, i) => i);
  const find = (i: number): number => {
    let j = i;
    while (parent[j] !== j) j = parent[j] = parent[parent[j]];
    return j;
  };
  operands.forEach((list, i) => {
    for (const j of list) parent[find(j)] = find(i);
  });
  const out = new Map<number, number[]>();
  for (let i = 0; i < operands.length; i++) {
    const root = find(i);
    const list = out.get(root);
    if (list) list.push(i);
    else out.set(root, [i]);
  }
  return [...out.values()];
}

/** The minimum cut of one part. */
function cheapest(values: readonly Value[]): Side[] {
  const source = 2 * values.length;
  const target = source + 1;
  const network = new FlowNetwork(target + 1);
  values.forEach((v, i) => {
    network.edge(2 * i, 2 * i + 1, v.cost);
    if (v.price > 0) network.edge(source, 2 * i, v.price);
    for (const j of v.operands) network.edge(2 * j + 1, 2 * i, Number.POSITIVE_INFINITY);
    if (v.wanted) network.edge(2 * i + 1, target, Number.POSITIVE_INFINITY);
  });
  const side = network.targetSide(source, target);
  const out = values.map((_, i): Side => (!side[2 * i + 1] ? "left" : side[2 * i] ? "recomputed" : "kept"));
  if (out.some((s, i) => s === "recomputed" && values[i].price === Number.POSITIVE_INFINITY))
    throw new Bug("the cut would recompute what cannot be");
  return out;
}
