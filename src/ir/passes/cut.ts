import { type Graph, type Node, order } from "../graph.ts";
import { applyFlat } from "./cut/flat.ts";
import { halvesOf, keptBytes } from "./cut/halves.ts";
import { forwardOnly, levelsOf } from "./cut/levels.ts";
import { cutLoops } from "./cut/loops.ts";
import { Scale } from "./cut/scale.ts";
import { secondsOf } from "./cut/work.ts";
import type { Pass } from "./pass.ts";

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 2 : 0)} MiB`;

/**
 * Nothing that makes equal nodes one may run behind this pass: it would undo the cut. `options.recompute` is a step of the graph's scale
 * (`cut/scale.ts`); who has a budget tries steps until the plan fits. Without it, whatever costs next to nothing is recomputed.
 */
export const cut: Pass = {
  name: "cut",
  before: "the backward half reads whatever of the forward half it needs",
  after: "it reads the values that were worth keeping, and recomputes the others from them; the copies are of the backward half",
  law: "every result is the same, to the bit",
  optional: true,
  run(graph, context) {
    const { trained: changed } = context.options;
    if (!order(graph.results.map((r) => r.node)).some((n) => n.backward)) return graph;
    const { flat, before, scale, separated, total } = chainOf(graph, changed);
    const asked = context.options.recompute;
    const step = asked === undefined ? scale.usual : Math.min(asked, scale.length - 1);
    const done = applyFlat(flat, scale.at(step), separated);
    const added = total > 0 ? scale.added(step) / total : 0;
    // most of the scale is for who has a budget
    context.recompute = {
      step,
      get steps() {
        return scale.length;
      },
      usual: scale.usual,
      get corners() {
        return scale.corners;
      },
      get borders() {
        return scale.borders;
      },
      kept: (of) => scale.bytes(of),
      added,
      seconds: total,
    };
    if (before > 0)
      context.note(
        `kept for the backward half: ${mib(keptBytes(done, changed))}, of ${mib(before)} that it reads; recomputing adds ${(100 * added).toFixed(1)} % of work`,
      );
    return done;
  },
};

interface Chain {
  readonly flat: Graph;
  readonly before: number;
  readonly scale: Scale;
  readonly separated: ReadonlySet<Node>;
  /** Seconds of the whole step. */
  readonly total: number;
}

/** Of each graph, once: who looks for a step that fits a budget asks for many of one graph. */
const chains = new WeakMap<Graph, Map<string, Chain>>();
function chainOf(graph: Graph, changed: readonly string[] = []): Chain {
  const made = chains.get(graph) ?? new Map<string, Chain>();
  chains.set(graph, made);
  const key = changed.join("\n");
  const known = made.get(key);
  if (known) return known;
  const flat = cutLoops(graph, changed);
  const halves = halvesOf(flat, changed);
  const levels = levelsOf(
    halves.nodes,
    flat.results.map((r) => r.node),
    halves.free,
  );
  const chain: Chain = {
    flat,
    before: keptBytes(graph, changed),
    scale: new Scale(halves, levels, secondsOf, forwardOnly(halves.nodes, levels)),
    separated: new Set(levels.separators.flatMap((s) => [...s])),
    total: halves.nodes.reduce((sum, n) => sum + secondsOf(n), 0),
  };
  made.set(key, chain);
  return chain;
}
