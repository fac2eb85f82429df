/** Cuts a loop into three, one behind the other: the iterations before some, these, and the iterations after them. */
import { type Body, type Graph, type Node, node } from "../graph.ts";
import { LOOP_TYPE, makeArg } from "../make.ts";
import { carriedRead, exportRead, isGet, readOf, rebuild, withInputs, withRoots } from "../rebuild.ts";
import { namesOf } from "./names.ts";

/** Iterations `from`..`to`-1. */
export interface Run {
  readonly from: number;
  readonly to: number;
}
interface Piece {
  readonly run: Run;
  readonly loop: Node;
  /** Places of the carried values that it carries; the others pass through it. */
  readonly slots: readonly number[];
}

/** Places of carried values that no iteration of the run changes. */
export function passingSlots(loop: Node, { from, to }: Run): Set<number> {
  const { carried, bodies, iterations } = loop.loop!;
  const run = iterations.slice(from, to).map((t) => bodies[t.body]);
  return new Set(Array.from({ length: carried }, (_, k) => k).filter((k) => run.every((body) => body.results[k] === body.params[k])));
}

/** The graph with these loops in pieces, and the piece that each run became; what passes through a run is not carried by it. */
export function splitLoops(
  graph: Graph,
  runs: ReadonlyMap<Node, Run>,
): { readonly graph: Graph; readonly pieces: ReadonlyMap<Node, Node> } {
  const pieces = new Map<Node, readonly Piece[]>();
  const middle = new Map<Node, Node>();
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => {
      const run = runs.get(n);
      if (n.loop && run) {
        const made = split(n, inputs, run);
        pieces.set(n, made.pieces);
        middle.set(n, made.middle);
        return made.pieces[made.pieces.length - 1].loop;
      }
      const parts = isGet(n) ? pieces.get(n.inputs[0]) : undefined;
      return parts ? read(n, parts) : withInputs(n, inputs);
    },
  );
  return { graph: withRoots(graph, roots), pieces: middle };
}

function split(n: Node, inputs: readonly Node[], run: Run): { pieces: Piece[]; middle: Node } {
  const { carried, iterations } = n.loop!;
  const every = Array.from({ length: carried }, (_, k) => k);
  const passing = passingSlots(n, run);
  const pieces: Piece[] = [];
  let values = inputs.slice(0, carried);
  let middle: Node | undefined;
  for (const part of [{ from: 0, to: run.from }, run, { from: run.to, to: iterations.length }]) {
    if (part.from === part.to) continue;
    const slots = part === run ? every.filter((k) => !passing.has(k)) : every;
    const loop = pieceOf(n, values, inputs.slice(carried), part, slots);
    if (part === run) middle = loop;
    pieces.push({ run: part, loop, slots });
    values = values.map((x, k) => (slots.includes(k) ? carriedRead(loop, slots.indexOf(k)) : x));
  }
  return { pieces, middle: middle! };
}

function pieceOf(n: Node, values: readonly Node[], given: readonly Node[], { from, to }: Run, slots: readonly number[]): Node {
  const { carried, bodies, iterations } = n.loop!;
  const passing = values.flatMap((_, k) => (slots.includes(k) ? [] : [k]));
  const made: Body[] = [];
  const places = new Map<number, number>();
  for (const { body } of iterations.slice(from, to)) {
    if (places.has(body)) continue;
    const { params, results } = bodies[body];
    // what passes through is an argument like any other
    const order = [...slots, ...params.flatMap((_, i) => (i < carried ? [] : [i])), ...passing];
    const known = new Map(order.map((old, i) => [params[old], old === i ? params[old] : makeArg(i, params[old].type, params[old].origin)]));
    const out = [...slots, ...results.flatMap((_, i) => (i < carried ? [] : [i]))].map((i) => results[i]);
    places.set(body, made.push({ params: order.map((old) => known.get(params[old])!), results: rebuild(out, known) }) - 1);
  }
  const through = passing.map((_, i) => given.length + i);
  return node(
    n.op,
    [...slots.map((k) => values[k]), ...given, ...passing.map((k) => values[k])],
    namesOf(n, from, to),
    LOOP_TYPE,
    n.origin,
    {
      carried: slots.length,
      bodies: made,
      iterations: iterations.slice(from, to).map((t) => ({ body: places.get(t.body)!, args: [...t.args, ...through] })),
    },
  );
}

function read(get: Node, pieces: readonly Piece[]): Node {
  const { iteration, result } = readOf(get);
  const carried = get.inputs[0].loop!.carried;
  if (result >= carried) {
    const { loop, run } = pieces.find(({ run: r }) => iteration >= r.from && iteration < r.to)!;
    return exportRead(loop, iteration - run.from, result - carried, get);
  }
  for (const { loop, slots } of [...pieces].reverse()) if (slots.includes(result)) return carriedRead(loop, slots.indexOf(result));
  return pieces[0].loop.inputs[result];
}
