/** Which values to keep for the backward half, and which to compute again there. */
import { Bug } from "../../errors.ts";
import { type Node, sizes } from "../../graph.ts";
import { rowOf } from "../../ops/index.ts";
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
      const axes = (n.attrs.axes as readonly number[] | undefined) ?? [n.attrs.axis as number];
      const first = x.type.shape.length - axes.length;
      return axes.every((a) => a >= first);
    }
    default:
      return false;
  }
}

export interface Choice {
  readonly kept: ReadonlySet<Node>;
  /** Computed again in the backward half. */
  readonly again: ReadonlySet<Node>;
}

export interface ChoiceRules {
  /** Costs nothing to have. */
  readonly free: (n: Node) => boolean;
  /** What keeping costs: bytes, if left out. */
  readonly cost?: (n: Node) => number;
  /** What computing again costs, in the same unit; `Infinity`: it is not done. If left out, what is cheap costs nothing, all else is not done. */
  readonly again?: (n: Node) => number;
}

const cheapAlone = (n: Node): number => (cheap(n) ? 0 : Number.POSITIVE_INFINITY);

/**
 * The cheapest set of values from which all of `required` can be had: a minimum cut of the graph whose vertices are values,
 * split in two by an edge of what keeping them costs; an edge from the source stands for computing a value again. Among cheapest sets the
 * one that computes least again. As the price of computing falls, the kept set only shrinks towards the source.
 */
export function choose(required: Iterable<Node>, { free, cost = bytesOf, again: price = cheapAlone }: ChoiceRules): Choice {
  const wanted = [...new Set(required)].filter((n) => !free(n));
  const index = new Map<Node, number>();
  const values: Node[] = [];
  const add = (n: Node): void => {
    if (index.has(n) || free(n)) return;
    index.set(n, values.push(n) - 1);
  };
  wanted.forEach(add);
  for (let i = 0; i < values.length; i++) if (price(values[i]) < Number.POSITIVE_INFINITY) values[i].inputs.forEach(add);

  const source = 2 * values.length;
  const target = source + 1;
  const network = new FlowNetwork(target + 1);
  values.forEach((n, i) => {
    network.edge(2 * i, 2 * i + 1, cost(n));
    const repeating = price(n);
    if (repeating > 0) network.edge(source, 2 * i, repeating);
    if (repeating < Number.POSITIVE_INFINITY)
      for (const x of n.inputs) {
        const j = index.get(x);
        if (j !== undefined) network.edge(2 * j + 1, 2 * i, Number.POSITIVE_INFINITY);
      }
  });
  for (const n of wanted) network.edge(2 * index.get(n)! + 1, target, Number.POSITIVE_INFINITY);
  const side = network.targetSide(source, target);

  const kept = new Set<Node>();
  const again = new Set<Node>();
  values.forEach((n, i) => {
    if (!side[2 * i + 1]) return;
    if (side[2 * i]) again.add(n);
    else kept.add(n);
  });
  for (const n of again)
    if (price(n) === Number.POSITIVE_INFINITY) throw new Bug(`the cut would compute ${n.op} of ${n.origin.path} again`);
  return { kept, again };
}
