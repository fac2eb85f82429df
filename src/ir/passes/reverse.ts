import { order } from "../graph.ts";
import { isBlocked } from "../loops/invert.ts";
import { coupledLoops, withIntegerStreams } from "../reverse/exact.ts";
import type { Pass } from "./pass.ts";

/** What a loop is called in notes. */
const nameOf = (path: string, turns: number): string => `${path || "the loop"} (${turns} turns)`;

export const reverse: Pass = {
  name: "reverse",
  before: "loops have adjoint loops",
  after: "where `options.reverse` asks for it, loops whose carried values are coupled carry integers",
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
    return able.length > 0 ? withIntegerStreams(graph, able) : graph;
  },
};
