/** Forward mode: tangents beside values, from the same rows. A loop's tangent is a loop over the same iterations. */

import { make } from "../build.ts";
import { Bug, type Node } from "../graph.ts";
import { type OpName, rowOf } from "../ops/index.ts";
import { carriedRead, exportRead, isGet, orderUntil, readOf } from "../rebuild.ts";
import { builderAt, type DerivedBody, type DerivedIteration, derivedLoop, originOf, standIn } from "./derived.ts";
import type { LoopExports } from "./exports.ts";
import { notDifferentiable } from "./reverse.ts";

/**
 * Tangents of `roots` when the nodes in `seeds` (settled, f32) move by what is given there; `undefined` is zero. A seed adds to what its
 * node's own operands give. `leaf` bounds the walk.
 */
export function forward(
  roots: readonly Node[],
  seeds: ReadonlyMap<Node, Node>,
  exports: LoopExports,
  leaf: (n: Node) => boolean = () => false,
): (Node | undefined)[] {
  const nodes = orderUntil(roots, leaf);
  const tangents = new Map<Node, Node>();
  const loops = new Map<Node, LoopTangents>();
  const reads = new Map<Node, Node[]>();
  for (const n of nodes) {
    if (!isGet(n)) continue;
    const loop = n.inputs[0];
    if (!reads.has(loop)) reads.set(loop, []);
    reads.get(loop)!.push(n);
  }
  for (const n of nodes) {
    if (n.loop) {
      const inside = [...seeds].filter(([x]) => isGet(x) && x.inputs[0] === n);
      const given = n.inputs.map((i) => tangents.get(i));
      if (inside.length > 0 || given.some(Boolean)) loops.set(n, forwardLoop(n, given, inside, reads.get(n) ?? [], exports));
      continue;
    }
    let t: Node | undefined;
    if (isGet(n)) t = loops.get(n.inputs[0])?.read(n);
    else {
      const given = n.inputs.map((i) => tangents.get(i));
      if (!leaf(n) && n.type.dtype === "f32" && given.some(Boolean)) t = pushforward(n, given, exports);
      const seed = seeds.get(n);
      if (seed) t = t ? builderAt(n).add(t, seed) : seed;
    }
    if (t) tangents.set(n, t);
  }
  return roots.map((r) => tangents.get(r));
}

function pushforward(n: Node, tangents: readonly (Node | undefined)[], exports: LoopExports): Node | undefined {
  const row = rowOf(n);
  const b = builderAt(n);
  const { inputs } = n;
  const sum = (terms: readonly (Node | undefined)[]): Node | undefined =>
    terms.reduce((total, t) => (total && t ? b.add(total, t) : (total ?? t)), undefined);
  switch (row.vjp) {
    case "zero":
      return undefined;
    case "refused":
      throw notDifferentiable(n);
    case "by partials":
      return sum(
        tangents.map((t, i) => {
          const partial = t && row.partials[i];
          return partial && b.mul(t, partial(b, inputs, n));
        }),
      );
    case "by transpose": {
      const groups = row.linear === "all" ? [inputs.map((_, i) => i)] : row.linear;
      return sum(
        groups.map((group) => {
          if (!group.some((i) => tangents[i])) return undefined;
          const moved = inputs.map((x, i) => (group.includes(i) ? (tangents[i] ?? b.zeros(x.type)) : x));
          return make(n.op as OpName, moved, n.attrs, b.origin);
        }),
      );
    }
    case "by expansion": {
      const root = row.expansion(b, n);
      const seeds = new Map<Node, Node>();
      inputs.forEach((x, i) => {
        const t = tangents[i];
        if (t) seeds.set(x, t);
      });
      return forward([root], seeds, exports, (x) => x !== root && inputs.includes(x))[0];
    }
    default:
      return row.jvp({ b, node: n, inputs, tangents });
  }
}

// ---- loops

interface LoopTangents {
  read(get: Node): Node | undefined;
}
interface TangentBody {
  readonly params: ReadonlyMap<number, Node>;
  readonly seeds: ReadonlyMap<Node, Node>;
  /** By place among the body's results. */
  readonly found: ReadonlyMap<number, Node>;
}

function forwardLoop(
  n: Node,
  given: readonly (Node | undefined)[],
  inside: readonly (readonly [Node, Node])[],
  reads: readonly Node[],
  exports: LoopExports,
): LoopTangents {
  const { carried, bodies, iterations } = n.loop!;
  const read = reads.map(readOf);
  const exported = new Set(read.map((r) => r.result).filter((place) => place >= carried));
  const end = Math.max(...read.map((r) => r.iteration + 1), 0);
  const known = new Map<string, TangentBody>();
  const runs: { iteration: number; tangent: TangentBody; given: Node[] }[] = [];
  let present = Array.from({ length: carried }, (_, k) => given[k] !== undefined);
  for (let t = 0; t < end; t++) {
    const { body: which, args } = iterations[t];
    const body = bodies[which];
    const moving = [...present, ...args.map((k) => given[carried + k] !== undefined)];
    const seeds = inside.filter(([x]) => readOf(x).iteration === t);
    const key = [which, moving.map(Number).join(""), seeds.map(([x]) => exports.inside(x).id)].join("|");
    let tangent = known.get(key);
    if (!tangent) {
      const stand = (x: Node) => standIn(x.type, originOf(x));
      const params = new Map(moving.flatMap((m, i) => (m ? [[i, stand(body.params[i])] as const] : [])));
      const within = new Map(seeds.map(([x]) => [exports.inside(x), stand(x)]));
      const start = new Map([...[...params].map(([i, s]) => [body.params[i], s] as const), ...within]);
      const results = exports.results(body);
      const places = results.flatMap((_, place) => (place < carried || exported.has(place) ? [place] : []));
      const found = forward(
        places.map((place) => results[place]),
        start,
        exports,
      );
      tangent = { params, seeds: within, found: new Map(places.flatMap((place, i) => (found[i] ? [[place, found[i]!] as const] : []))) };
      known.set(key, tangent);
    }
    const { found, params } = tangent;
    if (found.size > 0) {
      const rows = [...params.keys()].filter((i) => i >= carried).map((i) => given[carried + args[i - carried]]!);
      runs.push({ iteration: t, tangent, given: [...rows, ...seeds.map(([, v]) => v)] });
    }
    present = present.map((_, k) => found.has(k));
  }
  if (runs.length === 0) return { read: () => undefined };

  const slots = Array.from({ length: carried }, (_, k) => k).filter((k) =>
    runs.some((r) => r.tangent.params.has(k) || r.tangent.found.has(k)),
  );
  const used = [...new Set(runs.map((r) => r.tangent))];
  const outs = (tangent: TangentBody) => [...tangent.found.keys()].filter((place) => place >= carried);
  const made = used.map((tangent): DerivedBody => {
    const { iteration } = runs.find((r) => r.tangent === tangent)!;
    const stand = slots.map((k) => tangent.params.get(k) ?? standIn(n.inputs[k].type, originOf(n)));
    return {
      forward: bodies[iterations[iteration].body],
      slots: stand,
      next: slots.map((k, s) => tangent.found.get(k) ?? stand[s]),
      given: [...[...tangent.params].filter(([i]) => i >= carried).map(([, s]) => s), ...tangent.seeds.values()],
      exports: outs(tangent).map((place) => tangent.found.get(place)!),
    };
  });
  const derivedIterations = runs.map((r): DerivedIteration => ({ body: used.indexOf(r.tangent), iteration: r.iteration, given: r.given }));
  const start = slots.map((k) => given[k] ?? builderAt(n).zeros(n.inputs[k].type));
  const loop = derivedLoop(n, exports, start, made, derivedIterations, originOf(n));
  const atEnd = end === iterations.length ? present : present.map(() => false);
  return {
    read: (get) => {
      const { iteration, result } = readOf(get);
      if (result < carried) {
        if (iteration !== iterations.length - 1) throw new Bug("a carried-out value is of the last iteration");
        return atEnd[result] ? carriedRead(loop, slots.indexOf(result)) : undefined;
      }
      const at = runs.findIndex((r) => r.iteration === iteration);
      const of = runs[at]?.tangent.found.get(result);
      return of && exportRead(loop, at, outs(runs[at].tangent).indexOf(result), of);
    },
  };
}
