import { order } from "../graph.ts";
import { isBlocked } from "../loops/invert.ts";
import { coupledLoops, type Found, growing, withIntegerStreams } from "../reverse/exact.ts";
import { growthOf, segmentFor, withRoundedStreams } from "../reverse/rounded.ts";
import type { Pass } from "./pass.ts";

/** What a loop is called in notes. */
const nameOf = (path: string, turns: number): string => `${path || "the loop"} (${turns} turns)`;

/** The growth in the bodies that are run backwards: in all but one that only the first turn runs. */
function growthIn({ loop, couplings }: Found): number {
  if (isBlocked(couplings)) return 1;
  const { bodies, turns } = loop.loop!;
  const later = new Set(turns.slice(1).map((t) => t.body));
  return Math.max(...bodies.flatMap((body, i) => (later.has(i) ? [growthOf(body, couplings[i])] : [])));
}

export const reverse: Pass = {
  name: "reverse",
  before: "loops have adjoint loops",
  after: "where `options.reverse` asks for it, loops whose carried values are coupled carry integers, or are coupled in f32",
  law: "gradients are those at the values that the forward half has, which are the same up to the integers' unit",
  run(graph, context) {
    if (context.options.reverse === undefined) return graph;
    const found = coupledLoops(order(graph.results.map((r) => r.node)));
    const able = found.filter((f) => {
      const name = nameOf(f.loop.origin.path, f.loop.loop!.turns.length);
      if (!isBlocked(f.couplings)) {
        context.note(`${name} runs backwards: yes`);
        return true;
      }
      const { at, why } = f.couplings;
      context.note(`${name} runs backwards: no, ${at.op}${at.origin.path ? ` of ${at.origin.path}` : ""}: ${why}`);
      return false;
    });
    if (able.length === 0) return graph;
    const { reverse: how } = context.options;
    if (how === "exact") {
      for (const f of able) {
        const { growth, wide } = growing(f);
        const name = nameOf(f.loop.origin.path, f.loop.loop!.turns.length);
        if (wide) context.note(`${name}: streams have 64 bits, as no norm keeps them from growing by ${growth.toPrecision(3)} a turn`);
      }
      return withIntegerStreams(graph, able);
    }
    return withRoundedStreams(
      graph,
      able.map((f) => {
        const growth = growthIn(f);
        const segment = segmentFor(growth, how);
        const name = nameOf(f.loop.origin.path, f.loop.loop!.turns.length);
        context.note(`${name}: an error grows by ${growth.toPrecision(3)} a turn at most; values are kept every ${segment} turns`);
        return { ...f, segment };
      }),
    );
  },
};
