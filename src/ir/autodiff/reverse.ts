/**
 * Reverse mode. A sweep goes once over what the roots reach, users before operands, and follows only nodes that depend on something that a
 * gradient is wanted by; so what is frozen costs nothing. A loop's adjoint is a loop over those of its iterations that matter, backwards.
 */
import { Limit, type Node } from "../graph.ts";
import { rowOf } from "../ops/index.ts";
import { carriedRead, exportRead, isGet, orderUntil, readOf } from "../rebuild.ts";
import { activity, insideLoops, type LoopActivity } from "./activity.ts";
import { builderAt, type DerivedBody, type DerivedIteration, derivedLoop, originOf, standIn } from "./derived.ts";
import type { LoopExports } from "./exports.ts";

/** By iteration, then by place among the results of the iteration's body. */
type LoopSeeds = Map<number, Map<number, Node>>;

/**
 * The gradients of Σ ⟨root, cotangent⟩ over `seeds`, by the nodes `by` (settled, f32); those that are zero are left out. `leaf` bounds the
 * sweep: operands of a leaf are not reached through it.
 */
export function reverse(
  seeds: ReadonlyMap<Node, Node>,
  by: ReadonlySet<Node>,
  exports: LoopExports,
  leaf: (n: Node) => boolean = () => false,
): Map<Node, Node> {
  const nodes = orderUntil([...seeds.keys()], leaf);
  const { active, loops } = activity(nodes, by, exports);
  const inside = insideLoops(by, exports);
  const cotangents = new Map<Node, Node>();
  const loopSeeds = new Map<Node, LoopSeeds>();
  const found = new Map<Node, Node>();

  const give = (n: Node, c: Node): void => {
    if (!active.has(n)) return;
    if (isGet(n)) {
      const { loop, iteration, result } = readOf(n);
      if (!loopSeeds.has(loop)) loopSeeds.set(loop, new Map());
      const iterations = loopSeeds.get(loop)!;
      if (!iterations.has(iteration)) iterations.set(iteration, new Map());
      addTo(iterations.get(iteration)!, result, c);
    } else addTo(cotangents, n, c);
  };

  for (const [root, c] of seeds) give(root, c);
  for (let i = nodes.length - 1; i >= 0; i--) {
    const n = nodes[i];
    const into = loopSeeds.get(n);
    if (n.loop && into) {
      const back = reverseLoop(n, into, loops.get(n)!, inside.get(n) ?? new Map(), exports);
      back.inputs.forEach((c, k) => {
        give(n.inputs[k], c);
      });
      for (const x of by) {
        if (!isGet(x) || x.inputs[0] !== n) continue;
        const c = back.inside.get(readOf(x).iteration)?.get(exports.inside(x));
        if (c) found.set(x, c);
      }
    }
    const c = cotangents.get(n);
    if (!c) continue;
    if (by.has(n)) found.set(n, c);
    cotangents.delete(n);
    if (leaf(n) || !n.inputs.some((x) => active.has(x))) continue;
    pullback(n, c, (k) => active.has(n.inputs[k]), exports).forEach((ci, k) => {
      if (ci) give(n.inputs[k], ci);
    });
  }
  return found;
}

function addTo<K>(to: Map<K, Node>, key: K, c: Node): void {
  const old = to.get(key);
  to.set(key, old ? builderAt(c, "backward").add(old, c) : c);
}

/** The cotangents of a node's operands, from its own, by its row. */
function pullback(n: Node, cotangent: Node, wants: (i: number) => boolean, exports: LoopExports): readonly (Node | undefined)[] {
  const row = rowOf(n);
  const b = builderAt(n, "backward");
  const { inputs } = n;
  switch (row.vjp) {
    case "zero":
      return [];
    case "refused":
      throw notDifferentiable(n);
    case "by partials":
      return inputs.map((_, i) => {
        const partial = wants(i) ? row.partials[i] : undefined;
        return partial && b.mul(cotangent, partial(b, inputs, n));
      });
    case "by transpose":
      return row.transpose({ b, node: n, inputs, cotangent, wants });
    case "by expansion": {
      const root = row.expansion(b, n);
      const by = new Set(inputs.filter((_, i) => wants(i)));
      const found = reverse(new Map([[root, cotangent]]), by, exports, (x) => x !== root && inputs.includes(x));
      // An operand that is given twice has one gradient, which must be given once.
      return inputs.map((x, i) => (inputs.indexOf(x) === i ? found.get(x) : undefined));
    }
    default:
      return row.vjp({ b, node: n, inputs, cotangent, wants });
  }
}

export const notDifferentiable = (n: Node): Limit =>
  new Limit(
    `${n.op}${n.origin.path ? ` in ${n.origin.path}` : ""} has no derivative in this version, and a gradient is asked for through it; stop_gradient(...) around it blocks the gradient`,
    n.origin.span,
  );

// ---- loops

interface Adjoint {
  /** Stand-ins for the cotangents that come in, by place among the results: of carried values, and of exports. */
  readonly carried: ReadonlyMap<number, Node>;
  readonly exported: ReadonlyMap<number, Node>;
  /** Gradients of the body's parameters, and of nodes inside that are asked for. */
  readonly found: ReadonlyMap<Node, Node>;
}
interface LoopGradients {
  readonly inputs: ReadonlyMap<number, Node>;
  readonly inside: ReadonlyMap<number, ReadonlyMap<Node, Node>>;
}

/**
 * Bodies differentiated for what flows into each iteration. `runs`: iterations that matter, from the last to the first; `adjoints`: one for iterations alike;
 * `present`: carried values that have a cotangent in front of the first iteration.
 */
function adjointsOf(
  n: Node,
  seeds: LoopSeeds,
  active: LoopActivity["iterations"],
  inside: ReadonlyMap<number, ReadonlySet<Node>>,
  exports: LoopExports,
): { runs: { iteration: number; adjoint: Adjoint }[]; adjoints: Adjoint[]; present: readonly boolean[] } {
  const { carried, bodies, iterations } = n.loop!;
  const last = iterations.length - 1;
  const adjoints = new Map<string, Adjoint>();
  const runs: { iteration: number; adjoint: Adjoint }[] = [];

  // From the last iteration to the first: which carried values have a cotangent is known, so each body is differentiated for just those.
  let present = Array.from({ length: carried }, (_, k) => seeds.get(last)?.has(k) ?? false);
  for (let t = last; t >= 0; t--) {
    const body = bodies[iterations[t].body];
    const results = exports.results(body);
    const lives = (place: number) => active[t].has(results[place]);
    const flowing = present.flatMap((p, k) => (p && lives(k) ? [k] : []));
    const exported = [...(seeds.get(t)?.keys() ?? [])].filter((place) => place >= carried && lives(place)).sort((p, q) => p - q);
    if (flowing.length + exported.length === 0) {
      present = present.map(() => false);
      continue;
    }
    const params = body.params.filter((p) => active[t].has(p));
    const wanted = [...(inside.get(t) ?? [])];
    const key = [iterations[t].body, flowing, exported, params.map((p) => p.attrs.index), wanted.map((x) => x.id)].join("|");
    let adjoint = adjoints.get(key);
    if (!adjoint) {
      const stand = (places: readonly number[]) =>
        new Map(places.map((place) => [place, standIn(results[place].type, originOf(results[place], "backward"))]));
      const into = { carried: stand(flowing), exported: stand(exported) };
      const start = new Map<Node, Node>();
      for (const [place, c] of [...into.carried, ...into.exported]) addTo(start, results[place], c);
      adjoint = { ...into, found: reverse(start, new Set([...params, ...wanted]), exports) };
      adjoints.set(key, adjoint);
    }
    const { found } = adjoint;
    present = present.map((_, k) => found.has(body.params[k]));
    if (found.size > 0) runs.push({ iteration: t, adjoint });
  }
  return { runs, adjoints: [...adjoints.values()], present };
}

function reverseLoop(
  n: Node,
  seeds: LoopSeeds,
  { iterations: active }: LoopActivity,
  inside: ReadonlyMap<number, ReadonlySet<Node>>,
  exports: LoopExports,
): LoopGradients {
  const { carried, bodies, iterations } = n.loop!;
  const b = builderAt(n, "backward");
  const last = iterations.length - 1;
  const { runs, adjoints, present } = adjointsOf(n, seeds, active, inside, exports);
  if (runs.length === 0) return { inputs: new Map(), inside: new Map() };

  const slots = Array.from({ length: carried }, (_, k) => k).filter((k) => present[k] || runs.some((r) => r.adjoint.carried.has(k)));
  const { sums, single } = captured(n, runs);

  // Bodies of iterations that turned out to matter to nothing are left out.
  const kept = adjoints.filter((a) => runs.some((r) => r.adjoint === a));
  const made = kept.map((adjoint): DerivedBody => {
    const { iteration } = runs.find((r) => r.adjoint === adjoint)!;
    const body = bodies[iterations[iteration].body];
    const carriedSlots = slots.map((k) => adjoint.carried.get(k) ?? standIn(n.inputs[k].type, b.origin));
    const sumSlots = sums.map((k) => standIn(n.inputs[k].type, b.origin));
    const added = sums.map((k, s) => {
      let sum = sumSlots[s];
      iterations[iteration].args.forEach((arg, j) => {
        const c = adjoint.found.get(body.params[carried + j]);
        if (arg + carried === k && c) sum = b.add(sum, c);
      });
      return sum;
    });
    return {
      forward: body,
      slots: [...carriedSlots, ...sumSlots],
      next: [...slots.map((k, s) => adjoint.found.get(body.params[k]) ?? carriedSlots[s]), ...added],
      given: [...adjoint.exported.values()],
      exports: [...single(adjoint).map((j) => adjoint.found.get(body.params[carried + j])!), ...wantedOf(adjoint, body.params)],
    };
  });
  const derivedIterations = runs.map(
    ({ iteration, adjoint }): DerivedIteration => ({
      body: kept.indexOf(adjoint),
      iteration,
      given: [...adjoint.exported.keys()].map((place) => seeds.get(iteration)!.get(place)!),
    }),
  );
  const start = [...slots.map((k) => seeds.get(last)?.get(k) ?? b.zeros(n.inputs[k].type)), ...sums.map((k) => b.zeros(n.inputs[k].type))];
  const loop = derivedLoop(n, exports, start, made, derivedIterations, originOf(n, "backward"));

  const inputs = new Map<number, Node>();
  slots.forEach((k, s) => {
    if (present[k]) inputs.set(k, carriedRead(loop, s));
  });
  sums.forEach((k, s) => {
    inputs.set(k, carriedRead(loop, slots.length + s));
  });
  const within = new Map<number, Map<Node, Node>>();
  runs.forEach(({ iteration, adjoint }, r) => {
    const { params } = bodies[iterations[iteration].body];
    const rows = single(adjoint);
    rows.forEach((j, e) => {
      const type = adjoint.found.get(params[carried + j])!;
      addTo(inputs, carried + iterations[iteration].args[j], exportRead(loop, r, e, type));
    });
    const isParam = new Set(params);
    const wanted = [...adjoint.found.keys()].filter((x) => !isParam.has(x));
    within.set(iteration, new Map(wanted.map((x, e) => [x, exportRead(loop, r, rows.length + e, adjoint.found.get(x)!)])));
  });
  return { inputs, inside: within };
}

const wantedOf = (adjoint: Adjoint, params: readonly Node[]): Node[] => {
  const isParam = new Set(params);
  return [...adjoint.found].filter(([x]) => !isParam.has(x)).map(([, c]) => c);
};

/**
 * How the gradients of the loop's other operands leave it. An operand that several iterations use, always at the same places of a body, is a
 * carried sum (`sums`: its index among the loop's inputs); all others are exports (`single`: the arguments of a body that are).
 */
function captured(n: Node, runs: readonly { iteration: number; adjoint: Adjoint }[]): { sums: number[]; single: (a: Adjoint) => number[] } {
  const { carried, bodies, iterations } = n.loop!;
  const places = (iteration: number, adjoint: Adjoint) => {
    const { params } = bodies[iterations[iteration].body];
    return iterations[iteration].args.flatMap((k, j) => (adjoint.found.has(params[carried + j]) ? [[carried + k, j]] : []));
  };
  const uses = new Map<number, number>();
  /** For each adjoint body and argument: the operand, or -1 where iterations differ. */
  const constant = new Map<Adjoint, Map<number, number>>();
  for (const { iteration, adjoint } of runs)
    for (const [k, j] of places(iteration, adjoint)) {
      uses.set(k, (uses.get(k) ?? 0) + 1);
      if (!constant.has(adjoint)) constant.set(adjoint, new Map());
      const known = constant.get(adjoint)!;
      known.set(j, known.has(j) && known.get(j) !== k ? -1 : k);
    }
  const varies = new Set<number>();
  for (const { iteration, adjoint } of runs)
    for (const [k, j] of places(iteration, adjoint)) if (constant.get(adjoint)!.get(j) !== k) varies.add(k);
  const sums = [...uses].filter(([k, count]) => count > 1 && !varies.has(k)).map(([k]) => k);
  sums.sort((p, q) => p - q);
  const single = (a: Adjoint): number[] =>
    [...(constant.get(a) ?? [])]
      .filter(([, k]) => k < 0 || !sums.includes(k))
      .map(([j]) => j)
      .sort((p, q) => p - q);
  return { sums, single };
}
