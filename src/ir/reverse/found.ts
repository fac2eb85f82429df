/** Which iterations of which loops can be run backwards, and what keeps the others from it. */
import type { Graph, Node } from "../graph.ts";
import { type Blocked, isBlocked } from "../loops/invert.ts";
import { passingSlots, type Run, splitLoops } from "../loops/split.ts";
import { isGet } from "../rebuild.ts";
import { type Coupling, couplingsLike, couplingsOf, passingThrough } from "./couplings.ts";

/** A loop of which every iteration can be run backwards. */
export interface Reversible {
  readonly loop: Node;
  /** By body; of a body that only the first iteration runs, as it need not be run backwards, what the others do. */
  readonly couplings: readonly (readonly Coupling[])[];
}

/** What can be said of a loop that has an adjoint. */
export interface Verdict {
  readonly loop: Node;
  /** The longest run of iterations that can be run backwards; absent where there are not two of them. */
  readonly run?: Run;
  /** What keeps the iteration from it that comes next, or all. */
  readonly blocked?: Blocked | undefined;
}

/** Loops that the backward half follows, in the order of the graph. */
export function verdicts(nodes: readonly Node[]): Verdict[] {
  const followed = new Set<Node>();
  const loops = nodes.filter((n) => n.loop);
  for (const n of loops) {
    if (n.attrs.follows === undefined) continue;
    for (const x of n.inputs) if (isGet(x) && x.inputs[0].attrs.follows === undefined) followed.add(x.inputs[0]);
  }
  return loops.filter((n) => followed.has(n)).map(verdictOf);
}

/** The loops' runs as loops of their own. */
export function withRuns(graph: Graph, found: readonly Verdict[]): { readonly graph: Graph; readonly loops: readonly Reversible[] } {
  const runs = new Map(found.flatMap(({ loop, run }) => (run ? [[loop, run] as const] : [])));
  const { graph: out, pieces } = splitLoops(graph, runs);
  return {
    graph: out,
    loops: [...runs.keys()].map((old): Reversible => {
      const loop = pieces.get(old)!;
      const { bodies, carried } = loop.loop!;
      const solved = solvedIn(loop);
      const like = exampleOf(solved);
      return { loop, couplings: solved.map((s, i) => (isBlocked(s) ? couplingsLike(bodies[i], carried, like!) : s)) };
    }),
  };
}

type Solved = readonly Coupling[] | Blocked;
const solvedIn = ({ loop }: Node): Solved[] => loop!.bodies.map((body) => couplingsOf(body, loop!.carried));
/** What a body does that changes what it carries. */
const exampleOf = (solved: readonly Solved[]): readonly Coupling[] | undefined =>
  solved.find((s): s is readonly Coupling[] => !isBlocked(s) && s.some((c) => c.rest));

function verdictOf(loop: Node): Verdict {
  const { carried, bodies, iterations } = loop.loop!;
  const last = bodies[iterations[iterations.length - 1].body].results[0] ?? loop;
  const alone: Blocked = { at: last, why: "one value is carried, and both sides of its sum depend on it" };
  if (carried < 2) return { loop, blocked: alone };
  const solved = solvedIn(loop);
  const like = exampleOf(solved);
  // what goes into the first iteration is there anyway: it need not be found again
  const good = iterations.map(
    ({ body }, t) => !isBlocked(solved[body]) || (t === 0 && like !== undefined && iterations.every((o, u) => u === 0 || o.body !== body)),
  );
  const changes = (t: number): boolean =>
    bodies[iterations[t].body].params.slice(0, carried).some((p, k) => bodies[iterations[t].body].results[k] !== p);
  const blocked = solved.find(isBlocked);
  let run: Run | undefined;
  for (let from = 0; from < iterations.length; from++) {
    if (!good[from]) continue;
    let to = from;
    while (to < iterations.length && good[to]) to++;
    const one = { from, to };
    if (!run || to - from > run.to - run.from) run = one;
    from = to;
  }
  if (!run) return { loop, blocked };
  const { from, to } = run;
  if (iterations.slice(from, to).filter((_, i) => changes(from + i)).length < 2)
    return { loop, blocked: blocked ?? { at: last, why: "a single iteration changes what is carried, so that nothing is gained" } };
  const passing = passingSlots(loop, run);
  const slots = Array.from({ length: carried }, (_, k) => k).filter((k) => !passing.has(k));
  const wrong = slots.map((k) => loop.inputs[k]).find((x) => x.type.dtype !== "f32");
  if (wrong) return { loop, blocked: { at: wrong, why: `a value of ${wrong.type.dtype} is carried` } };
  if (slots.length < 2) return { loop, blocked: blocked ?? alone };
  const next = to < iterations.length ? to : from - 1;
  const stop = next >= 0 && next < iterations.length ? solved[iterations[next].body] : undefined;
  return stop && isBlocked(stop) ? { loop, run, blocked: stop } : { loop, run };
}

/** Where what passes through shrinks by less than this from iteration to iteration, streams leave the range of one word. */
const SHRINKING = 0.9;
/** By how much streams grow from iteration to iteration if no norm holds them, and whether their integers need two words for it. */
export function growing({ loop }: Reversible): { readonly growth: number; readonly wide: boolean } {
  const { carried, bodies } = loop.loop!;
  const growth = Math.max(...bodies.map((body) => passingThrough(body, carried)));
  return { growth, wide: growth > SHRINKING };
}
