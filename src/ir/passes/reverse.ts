import { type Node, order } from "../graph.ts";
import { withIntegerStreams } from "../reverse/exact.ts";
import { growing, type Reversible, type Verdict, verdicts, withRuns } from "../reverse/found.ts";
import { growthOf, segmentFor, withRoundedStreams } from "../reverse/rounded.ts";
import type { Pass, PassContext } from "./pass.ts";

/** What a loop is called in notes. */
const nameOf = ({ origin, attrs, loop }: Node): string =>
  `${origin.path || String(attrs.id ?? "").split("/")[0] || "the loop"} (${loop!.turns.length} turns)`;

/** Whether a loop runs backwards, as far as it does, and what keeps it from it. */
function sentenceOf({ loop, run, blocked }: Verdict, { options }: PassContext): string {
  const turns = loop.loop!.turns.length;
  const whole = run && run.to - run.from === turns;
  const place = blocked?.at.origin.span && options.place?.(blocked.at.origin.span);
  const path = blocked?.at.origin.path;
  const why = blocked && `${blocked.at.op}${path ? ` of ${path}` : ""}${place ? ` (${place})` : ""}: ${blocked.why}`;
  if (!run) return `${nameOf(loop)} runs backwards: no, ${why}`;
  return whole
    ? `${nameOf(loop)} runs backwards: yes`
    : `${nameOf(loop)} runs backwards: turns ${run.from + 1} to ${run.to}; the others no, ${why}`;
}

/** The growth in the bodies that are run backwards: in all but one that only the first turn runs. */
function growthIn({ loop, couplings }: Reversible): number {
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
    const { reverse: how } = context.options;
    if (how === undefined) return graph;
    const found = verdicts(order(graph.results.map((r) => r.node)));
    for (const f of found) context.note(sentenceOf(f, context));
    const { graph: split, loops } = withRuns(graph, found);
    if (loops.length === 0) return graph;
    if (how === "exact") {
      for (const f of loops) {
        const { growth, wide } = growing(f);
        if (wide)
          context.note(`${nameOf(f.loop)}: streams have 64 bits, as no norm keeps them from growing by ${growth.toPrecision(3)} a turn`);
      }
      return withIntegerStreams(split, loops);
    }
    return withRoundedStreams(
      split,
      loops.map((f) => {
        const growth = growthIn(f);
        const segment = segmentFor(growth, how);
        context.note(
          `${nameOf(f.loop)}: an error grows by ${growth.toPrecision(3)} a turn at most; values are kept every ${segment} turns`,
        );
        return { ...f, segment };
      }),
    );
  },
};
