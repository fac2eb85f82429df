/**
 * Loops whose carried values are coupled, run backwards in f32. What is rebuilt is off by rounding, which grows with each iteration; so values are kept
 * every so many iterations, as many as the bound on the growth allows.
 */
import { Builder } from "../build.ts";
import type { Body, Graph, Node } from "../graph.ts";
import { makeLoop } from "../make.ts";
import { rebuild, withInputs, withRoots } from "../rebuild.ts";
import type { Coupling } from "./couplings.ts";
import type { Reversible } from "./found.ts";

/** f32's unit roundoff. */
const UNIT = 2 ** -24;
/**
 * How much what is added to a stream is taken to move with what it is computed from, relatively (a norm of its Jacobian): about 1 for layers with a
 * residual of their own. What a run measures takes its place.
 */
const SENSITIVITY = 1;

/** Which carried values the summands of an iteration's couplings are computed from: those carried in, and those carried out. */
export function readsOf(
  body: Body,
  couplings: readonly Coupling[],
): { readonly params: ReadonlySet<number>; readonly results: ReadonlySet<number> }[] {
  const params = body.params.slice(0, couplings.length);
  const results = body.results.slice(0, couplings.length);
  return couplings.map((c) => {
    const seen = new Set<Node>();
    const stack = c.rest ? [c.rest] : [];
    const found = { params: new Set<number>(), results: new Set<number>() };
    while (stack.length) {
      const n = stack.pop()!;
      if (seen.has(n)) continue;
      seen.add(n);
      const [p, r] = [params.indexOf(n), results.indexOf(n)];
      if (r >= 0) found.results.add(r);
      else if (p >= 0) found.params.add(p);
      else stack.push(...n.inputs);
    }
    return found;
  });
}

/**
 * By which factor an error grows for each iteration back, at most: a_in = (a_out − f)/c has the error of a_out and that of what f is computed from,
 * divided by c. The largest eigenvalue of these sums, by power iteration.
 */
function growthOf(body: Body, couplings: readonly Coupling[], sensitivity = SENSITIVITY): number {
  const carried = couplings.length;
  const reads = readsOf(body, couplings);
  const back = (out: readonly number[]): number[] => {
    const into = new Array<number | undefined>(carried).fill(undefined);
    for (let left = carried; left > 0; left--)
      couplings.forEach((c, k) => {
        if (into[c.from] !== undefined || [...reads[k].params].some((p) => into[p] === undefined)) return;
        const from = [...reads[k].params].map((p) => into[p]!).concat([...reads[k].results].map((r) => out[r]));
        into[c.from] = ((out[k] + sensitivity * from.reduce((x, y) => x + y, 0)) * c.ratio.den) / c.ratio.num;
      });
    return into.map((x) => x ?? 0);
  };
  let errors: number[] = new Array<number>(carried).fill(1);
  let growth = 1;
  for (let i = 0; i < 60; i++) {
    const next = back(errors);
    growth = Math.max(...next);
    errors = next.map((x) => x / growth);
  }
  return growth;
}

/** Iterations between kept values, so that what is rebuilt is off by at most `error`; at least 1. */
export const segmentFor = (growth: number, error: number): number =>
  growth <= 1 ? Number.MAX_SAFE_INTEGER : Math.max(1, Math.floor(Math.log(error / UNIT) / Math.log(growth)));

/** The growth that an error after so many iterations speaks of. */
export const growthFrom = (error: number, iterations: number): number => (error / UNIT) ** (1 / iterations);

/** Bodies that some iteration runs but the first, which need not go backwards. */
export function laterBodies({ loop }: Reversible): number[] {
  return [...new Set(loop.loop!.iterations.slice(1).map((t) => t.body))];
}

/** The bound on the growth in a loop, for a norm of the Jacobians of what its iterations add. */
export const growthIn = (found: Reversible, sensitivity?: number): number =>
  Math.max(...laterBodies(found).map((i) => growthOf(found.loop.loop!.bodies[i], found.couplings[i], sensitivity)));

/** The norm of the Jacobians for which the bound on the growth is the measured one. */
export function sensitivityIn(found: Reversible, growth: number): number {
  let [low, high] = [0, 1];
  while (growthIn(found, high) < growth && high < 1e6) high *= 2;
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (growthIn(found, middle) < growth) low = middle;
    else high = middle;
  }
  return high;
}

/** The graph with the couplings of these loops as such, and with how many iterations lie between kept values; and where its loops went. */
export function withRoundedStreams(
  graph: Graph,
  found: readonly (Reversible & { readonly segment: number })[],
): { readonly graph: Graph; readonly moved: ReadonlyMap<Node, Node> } {
  const moved = new Map<Node, Node>();
  const of = new Map(found.map((f) => [f.loop, f]));
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => {
      const f = of.get(n);
      if (!n.loop) return withInputs(n, inputs);
      const made = f ? coupledLoop(n, inputs, f) : withInputs(n, inputs);
      moved.set(n, made);
      return made;
    },
  );
  return { graph: withRoots(graph, roots), moved };
}

function coupledLoop(n: Node, inputs: readonly Node[], { couplings, segment }: Reversible & { readonly segment: number }): Node {
  const bodies = n.loop!.bodies.map((body, i) => coupledBody(body, couplings[i], segment));
  return makeLoop(inputs, { ...n.loop!, bodies }, n.origin, n.attrs);
}

function coupledBody(body: Body, couplings: readonly Coupling[], segment: number): Body {
  const of = new Map(couplings.flatMap((c, k) => (c.rest ? [[body.results[k], { ...c, rest: c.rest }] as const] : [])));
  const known = new Map<Node, Node>(body.params.map((p) => [p, p]));
  const change = (n: Node, inputs: readonly Node[]): Node => {
    const c = of.get(n);
    if (!c) return withInputs(n, inputs);
    const b = new Builder(n.origin);
    const x = body.params[c.from];
    return b.make("couple", [c.negative ? b.neg(x) : x, rebuild([c.rest], known, change)[0]], { ...c.ratio, segment });
  };
  return { params: body.params, results: rebuild(body.results, known, change) };
}
