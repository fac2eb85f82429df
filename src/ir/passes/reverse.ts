import { type Node, order } from "../graph.ts";
import { carrierBytes, carriers, integerBytes, segmentBytes } from "../reverse/cost.ts";
import { withIntegerStreams } from "../reverse/exact.ts";
import { growing, type Reversible, type Verdict, verdicts, withRuns } from "../reverse/found.ts";
import { growthIn, segmentFor, sensitivityIn, withRoundedStreams } from "../reverse/rounded.ts";
import type { Pass, PassContext } from "./pass.ts";

/** What a loop is called in notes. */
const nameOf = ({ origin, attrs, loop }: Node): string =>
  `${origin.path || String(attrs.id ?? "").split("/")[0] || "the loop"} (${loop!.iterations.length} iterations)`;

/** Whether a loop runs backwards, as far as it does, and what keeps it from it. */
function sentenceOf({ loop, run, blocked }: Verdict, { options }: PassContext): string {
  const iterations = loop.loop!.iterations.length;
  const whole = run && run.to - run.from === iterations;
  const place = blocked?.at.origin.span && options.place?.(blocked.at.origin.span);
  const path = blocked?.at.origin.path;
  const why = blocked && `${blocked.at.op}${path ? ` of ${path}` : ""}${place ? ` (${place})` : ""}: ${blocked.why}`;
  if (!run) return `${nameOf(loop)} runs backwards: no, ${why}`;
  return whole
    ? `${nameOf(loop)} runs backwards: yes`
    : `${nameOf(loop)} runs backwards: iterations ${run.from + 1} to ${run.to}; the others no, ${why}`;
}

/** `1 of 2 streams is kept at every iteration`. */
function keeping(found: Reversible): string {
  const [kept, all] = [carriers(found).size, found.loop.loop!.carried];
  return `${kept} of ${all} streams ${kept === 1 ? "is" : "are"} kept at every iteration`;
}

/** How many iterations lie between kept values: as many as the bound allows, or 1 where keeping carriers alone takes no more. */
function segmentIn(found: Reversible, error: number, context: PassContext): number {
  const name = nameOf(found.loop);
  const growth = growthIn(found);
  const segment = Math.min(
    segmentFor(growth, error),
    found.loop.loop!.iterations.length,
    context.options.segment ?? Number.POSITIVE_INFINITY,
  );
  const bound = `${name}: an error grows by ${growth.toPrecision(3)} an iteration at most, for Jacobians of norm 1`;
  if (segment === 1 || carrierBytes(found) <= segmentBytes(found, segment)) {
    const than = segment === 1 ? "" : `, no more bytes than all every ${segment} iterations`;
    context.note(`${bound}; ${keeping(found)}${than}: nothing is rebuilt`);
    return 1;
  }
  context.note(`${bound}; values are kept every ${segment} iterations`);
  context.rounded.push({ segment, growth, sensitivityFor: (measured) => sensitivityIn(found, measured) });
  return segment;
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
    if (how !== "exact")
      return withRoundedStreams(
        split,
        loops.map((f) => ({ ...f, segment: segmentIn(f, how, context) })),
      ).graph;
    const kept = new Set(loops.filter((f) => carrierBytes(f) <= integerBytes(f)));
    for (const f of loops) {
      const { growth, wide } = growing(f);
      if (kept.has(f)) context.note(`${nameOf(f.loop)}: ${keeping(f)}, no more bytes than integer streams take: nothing is rebuilt`);
      else if (wide)
        context.note(
          `${nameOf(f.loop)}: streams have 64 bits, as no norm keeps them from growing by ${growth.toPrecision(3)} an iteration`,
        );
    }
    const { graph: carried, moved } = withRoundedStreams(
      split,
      [...kept].map((f) => ({ ...f, segment: 1 })),
    );
    const left = loops.filter((f) => !kept.has(f)).map((f) => ({ ...f, loop: moved.get(f.loop)! }));
    return left.length > 0 ? withIntegerStreams(carried, left) : carried;
  },
};
