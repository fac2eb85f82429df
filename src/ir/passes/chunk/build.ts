/** The loop that computes a region slice by slice. */
import { Builder } from "../../build.ts";
import { Bug } from "../../errors.ts";
import { type Body, type Node, node, type Origin, sizes } from "../../graph.ts";
import { makeArg } from "../../make.ts";
import { iotaAxis, isDraw, type OpName, rowOf } from "../../ops/index.ts";
import { cutAttrs } from "../../ops/ties.ts";
import type { Region } from "./region.ts";
import { narrowed } from "./windows.ts";

/** How many places of the axis each iteration takes: as equal as can be. */
export function iterationSizes(length: number, most: number): number[] {
  const even = Array.from({ length: most }, (_, i) => most - i).find((c) => length % c === 0 && 2 * c > most);
  const size = even ?? Math.ceil(length / Math.ceil(length / most));
  return Array.from({ length: Math.ceil(length / size) }, (_, t) => Math.min(size, length - t * size));
}

/** Axes with `axis` first, and whether that only leaves out leading axes of size 1. */
const front = (rank: number, axis: number): number[] => [axis, ...Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis)];
const leads = (shape: readonly number[], axis: number): boolean => shape.slice(0, axis).every((d) => d === 1);

/** `x` with `axis` in front. */
function led(b: Builder, x: Node, axis: number): Node {
  if (axis === 0) return x;
  const shape = sizes(x);
  const order = front(shape.length, axis);
  return leads(shape, axis)
    ? b.reshape(
        x,
        order.map((i) => shape[i]),
      )
    : b.permute(x, order);
}
/** The axes of `shape` again, of a value whose leading axis was `axis`. */
function back(b: Builder, x: Node, shape: readonly number[], axis: number): Node {
  if (axis === 0) return x;
  const order = front(shape.length, axis);
  return leads(shape, axis)
    ? b.reshape(x, shape)
    : b.permute(
        x,
        shape.map((_, i) => order.indexOf(i)),
      );
}

/** At most so many bodies for iterations that look at different stretches, or at parts of weights. */
export const GROUPS = 8;
/** Neighbouring iterations that share a body. */
function grouped(iterations: readonly number[]): number[][] {
  const each = Math.ceil(iterations.length / GROUPS);
  return Array.from({ length: Math.ceil(iterations.length / each) }, (_, i) => iterations.slice(i * each, (i + 1) * each));
}

/** A node's place within the step is told by the loop it stands in. */
const plain = ({ path, span }: Origin): Origin => (span ? { path, span } : { path });

/** The iteration of a loop of layers that all of a region was written in. */
function iterationOf({ own }: Region): Origin["iteration"] {
  const [first, ...more] = [...own].map((n) => n.origin.iteration);
  const [text, others] = [JSON.stringify(first), more.map((t) => JSON.stringify(t))];
  return others.every((t) => t === text) ? first : undefined;
}

/**
 * The values of `results`, computed by a loop of iterations of `iterations` places each. `outer` gives what a given node is outside. `within` may rewrite the
 * results of a body.
 */
export function buildLoop(
  region: Region,
  results: readonly Node[],
  iterations: readonly number[],
  outer: (n: Node) => Node,
  within: (results: readonly Node[]) => readonly Node[],
): Map<Node, Node> {
  const origin = plain(results[0].origin);
  const iteration = iterationOf(region);
  const outside = new Builder({ ...origin, ...(iteration && { iteration }) });
  const b = new Builder(origin);
  const sums = results.filter((n) => region.inside.get(n) === "sum");
  const parts = results.filter((n) => region.inside.get(n) !== "sum");

  // Operands: the carried sums, then what is given, then the number of each iteration's first place.
  const given = [...region.given].flatMap(([n, axes]) => [...axes].map((axis) => ({ n, axis })));
  const starts = iterations.map((_, t) => iterations.slice(0, t).reduce((p, q) => p + q, 0));
  const inputs = given.map(({ n, axis }) => (axis === undefined ? outer(n) : led(outside, outer(n), axis)));
  const sliced = given.flatMap(({ axis }, k) => (axis === undefined ? [] : [k]));
  const numbered = node(
    "const",
    [],
    { shape: [iterations.length], dtype: "i32", data: starts },
    { dtype: "i32", shape: [iterations.length] },
    origin,
  );

  /** `start`: the first place, where the body is of one iteration alone. */
  const bodyOf = (size: number, start?: number): { body: Body; counts: boolean } => {
    const carried = sums.map((n, i) => makeArg(i, n.type, origin));
    const params = given.map(({ n, axis }, k) => {
      const type =
        axis === undefined
          ? n.type
          : {
              dtype: n.type.dtype,
              shape: [
                size,
                ...front(n.type.shape.length, axis)
                  .slice(1)
                  .map((i) => n.type.shape[i]),
              ],
            };
      return makeArg(sums.length + k, type, plain(n.origin));
    });
    const number = makeArg(sums.length + given.length, { dtype: "i32", shape: [1] }, origin);
    let counts = false;
    const first = (by: number): Node => {
      if (start !== undefined) return b.constant(start * by, "i32");
      counts = true;
      const at = b.reshape(number, []);
      return by === 1 ? at : b.mul(at, by);
    };
    const cut = (n: Node, axis: number): number[] => sizes(n).map((d, i) => (i === axis ? size : d));
    const made = new Map<string, Node>();
    const valueAt = (n: Node, axis: number | undefined): Node => {
      const key = `${n.id} ${axis}`;
      let value = made.get(key);
      if (!value) {
        value = compute(n, axis);
        made.set(key, value);
      }
      return value;
    };
    const compute = (n: Node, axis: number | undefined): Node => {
      const at = region.inside.get(n) ?? axis;
      if (typeof at === "number" && start !== undefined && region.partOfWeight(n, at))
        return b.sliceAxis(valueAt(n, undefined), at, start, start + size);
      const tie = at === undefined ? undefined : region.tieOf(n, at);
      if (!tie) {
        if (at === undefined && region.free(n))
          return remade(
            n,
            n.inputs.map((x) => valueAt(x, undefined)),
            n.attrs,
          );
        const k = given.findIndex((g) => g.n === n && g.axis === at);
        if (k < 0) throw new Bug(`${n.op} of ${n.origin.path} is not given to its loop`);
        return typeof at === "number" ? back(b, params[k], cut(n, at), at) : params[k];
      }
      const from = n.inputs.map((x, i) => valueAt(x, tie.operands[i]));
      const attrs = cutAttrs(n, tie.result, size);
      if (isDraw(n) && tie.result !== "sum") {
        const row = sizes(n)
          .slice(tie.result + 1)
          .reduce((p, d) => p * d, 1);
        const skipped = first(row);
        return remade(n, [from[0], from[1], from[2] ? b.add(from[2], skipped) : skipped], attrs);
      }
      const value = remade(n, from, attrs);
      if (typeof tie.result === "number" && iotaAxis(n) === tie.result) return b.add(value, b.broadcastTo(first(1), sizes(value)));
      return value;
    };
    const out = [
      ...sums.map((n, i) => b.add(carried[i], valueAt(n, undefined))),
      ...parts.map((n) => led(b, valueAt(n, region.inside.get(n) as number), region.inside.get(n) as number)),
    ];
    return { body: { params: [...carried, ...params, number], results: out }, counts };
  };
  const kinds = region.apart
    ? iterations.map((_, t) => [t])
    : [...new Set(iterations)].map((size) => iterations.flatMap((s, t) => (s === size ? [t] : [])));
  const made = kinds.map(([t]) => bodyOf(iterations[t], region.apart ? starts[t] : undefined));
  const counts = made.some((m) => m.counts);
  const bodies: Body[] = [];
  const bodyOfIteration = new Array<number>(iterations.length);
  for (const [k, { body }] of made.entries()) {
    const { params } = body;
    for (const group of counts ? grouped(kinds[k]) : [kinds[k]]) {
      const span = { lo: starts[group[0]], hi: starts[group[group.length - 1]] };
      const seen = counts ? narrowed(body, params[params.length - 1], span) : body;
      const known = seen === body ? bodies.indexOf(body) : -1;
      const index = known >= 0 ? known : bodies.push(seen) - 1;
      for (const t of group) bodyOfIteration[t] = index;
    }
  }
  for (const [i, { params, results }] of bodies.entries())
    bodies[i] = { params: counts ? params : params.slice(0, -1), results: within(results) };
  const zeros = sums.map((n) => node("const", [], { shape: n.type.shape, dtype: n.type.dtype, data: [0] }, n.type, origin));
  const all = [...inputs.keys(), ...(counts ? [inputs.length] : [])];
  const loop = outside.loop([...zeros, ...inputs, ...(counts ? [numbered] : [])], {
    carried: sums.length,
    bodies,
    iterations: bodyOfIteration.map((index) => ({ body: index, args: all })),
    sliced: [...sliced, ...(counts ? [inputs.length] : [])],
  });
  return new Map([
    ...sums.map((n, i) => [n, outside.carried(loop, i)] as const),
    ...parts.map((n, i) => [n, back(outside, outside.joined(loop, i), sizes(n), region.inside.get(n) as number)] as const),
  ]);
}

function remade(n: Node, inputs: readonly Node[], attrs: Node["attrs"]): Node {
  if (rowOf(n).supply) throw new Bug(`${n.op} ${String(n.attrs.name)} must be given to a loop`);
  return new Builder(plain(n.origin)).make(n.op as OpName, inputs, attrs);
}
