/** Which values to keep for the backward half, and which to compute again there. */
import { Bug } from "../../errors.ts";
import { type Node, sizes } from "../../graph.ts";
import { rowOf } from "../../ops/index.ts";
import { FlowNetwork } from "./flow.ts";

/** What a value takes where it is kept: every dtype has four bytes an element. */
export const bytesOf = (n: Node): number => 4 * sizes(n).reduce((p, d) => p * d, 1);

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

/** How a graph is cut, where it is not as usual. */
export interface CutRules {
  /** Parameters that change from run to run, beside those that the graph itself updates. */
  readonly changed?: readonly string[];
  /** What may be computed again; `cheap`, if left out. */
  readonly mayRepeat?: (n: Node) => boolean;
}

export interface ChoiceRules {
  /** Costs nothing to have. */
  readonly free: (n: Node) => boolean;
  readonly cost?: (n: Node) => number;
  readonly mayRepeat?: CutRules["mayRepeat"];
}

/**
 * The cheapest set of values from which all of `required` can be had: a minimum cut of the graph whose vertices are values,
 * split in two by an edge of their size. Among cheapest sets the one that computes least again. A value
 * costs its bytes, unless the rules say otherwise.
 */
export function choose(required: Iterable<Node>, { free, cost = bytesOf, mayRepeat = cheap }: ChoiceRules): Choice {
  const wanted = [...new Set(required)].filter((n) => !free(n));
  const index = new Map<Node, number>();
  const values: Node[] = [];
  const add = (n: Node): void => {
    if (index.has(n) || free(n)) return;
    index.set(n, values.push(n) - 1);
  };
  wanted.forEach(add);
  for (let i = 0; i < values.length; i++) if (mayRepeat(values[i])) values[i].inputs.forEach(add);

  const source = 2 * values.length;
  const target = source + 1;
  const network = new FlowNetwork(target + 1);
  values.forEach((n, i) => {
    network.edge(2 * i, 2 * i + 1, cost(n));
    if (!mayRepeat(n)) network.edge(source, 2 * i, Number.POSITIVE_INFINITY);
    else
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
  for (const n of again) if (!mayRepeat(n)) throw new Bug(`the cut would compute ${n.op} of ${n.origin.path} again`);
  return { kept, again };
}
