/**
 * The memory of loops over slices. A body is planned once, in ranges that say what they are relative to: a carried value, an operand, an export,
 * or the room that all iterations share for what lives within one. `unfold` writes the iterations out as kernels, with that iteration's ranges.
 */

import type { StorageType } from "../ground/program.ts";
import { Bug, type Loop, type Node, sizes } from "../ir/graph.ts";
import { attrsOf, rowOf } from "../ir/ops/index.ts";
import { isTable } from "./kernels/emit.ts";
import type { Step } from "./kernels/fuse.ts";
import { fillOf, pieceOf } from "./kernels/roots.ts";
import type { Lowered } from "./lower.ts";
import {
  allocate,
  bytesOf,
  copyStep,
  joined,
  type Life,
  labelOf,
  lifetimes,
  makersOf,
  overwrites,
  type PlannedKernel,
  type PlanOptions,
  partOf,
  Space,
  storeStep,
} from "./places.ts";

/** Bytes `offset..` of an arena of the program, or of what an iteration has under that name. */
export interface Range {
  readonly arena: string;
  readonly offset: number;
  readonly bytes: number;
  readonly dtype: StorageType;
  /** What lies there; of what an iteration is given: as the loop is given it. */
  readonly name?: string | undefined;
  readonly shape: readonly number[];
}
type IterationKernel = PlannedKernel<Range>;
interface PlannedBody {
  readonly bytes: number;
  readonly steps: readonly (IterationKernel | Iterations)[];
}
/** A loop whose places are known, in terms of what it stands in. */
export interface Iterations {
  readonly loop: Loop;
  /** What brings the carried values in. */
  readonly starts: readonly IterationKernel[];
  readonly carried: readonly Range[];
  readonly given: readonly Range[];
  /** The place of an export of an iteration, so far into the joined ones; `undefined` where nobody reads it of any iteration. */
  readonly exported: (iteration: number, index: number, done: number) => Range | undefined;
  readonly room: Range;
  readonly bodies: readonly PlannedBody[];
}
/** What a loop stands in: where nodes lie there. */
interface Home {
  has(n: Node): boolean;
  rangeOf(n: Node): Range;
}

const rangeOf = (arena: string, n: Node): Range => ({
  arena,
  offset: 0,
  bytes: bytesOf(n),
  dtype: n.type.dtype,
  name: nameOf(n),
  shape: sizes(n),
});
/** A parameter of a body is called as what it is given. */
const nameOf = (n: Node): string | undefined => {
  const { supply } = rowOf(n);
  return supply === undefined ? labelOf(n) : supply === "arg" ? undefined : String(n.attrs.name);
};
const sameRange = (a: Range, b: Range): boolean => a.arena === b.arena && a.offset === b.offset;

const readExports = (s: Step): Set<number> =>
  new Set(s.roots.flatMap((n) => (n.attrs.output === "carried" ? [] : [attrsOf(n, "get").index])));

/** Bytes of the largest export that is read of some iterations and not of all. */
function unreadExport({ roots, loop: node }: Step): number {
  const { bodies, iterations, carried } = node!.loop!;
  const reads = new Set(roots.map((n) => `${String(n.attrs.output)} ${n.attrs.iteration ?? ""} ${n.attrs.index}`));
  const some = new Set(roots.flatMap((n) => (n.attrs.output === "export" ? [attrsOf(n, "get").index] : [])));
  return iterations.reduce((most, { body }, t) => {
    const unread = [...some].filter((i) => !reads.has(`export ${t} ${i}`) && !reads.has(`joined  ${i}`));
    return unread.reduce((m, i) => Math.max(m, bytesOf(bodies[body].results[carried + i])), most);
  }, 0);
}

/** The loops among the steps of one graph. */
export class Inner {
  private readonly planned = new Map<Step, { bodies: PlannedBody[]; spare: number }>();

  constructor(
    private readonly bodies: Lowered["bodies"],
    private readonly context: { readonly options: PlanOptions; table(n: Node): Range },
  ) {}

  /** Plans the bodies, and adds to `all` the room of each loop. Behind what the iterations need there is room for results that nobody reads. */
  rooms(steps: readonly Step[], all: Life[]): ReadonlyMap<Step, Life> {
    const out = new Map<Step, Life>();
    steps.forEach((s, i) => {
      if (!s.loop) return;
      const { bodies, carried } = s.loop.loop!;
      const read = readExports(s);
      const planned = bodies.map((b) => this.body(b, this.bodies.get(b)!, carried, read));
      const spare = Math.max(...planned.map((b) => b.bytes));
      const unread = s.loop.inputs.slice(0, carried).reduce((sum, x) => sum + bytesOf(x) + this.context.options.alignment, 0);
      const partly = unreadExport(s);
      const allRead = s.roots.filter((n) => n.attrs.output === "carried").length === carried;
      const life: Life = {
        bytes: spare + (allRead ? 0 : unread) + (partly > 0 ? partly + this.context.options.alignment : 0),
        from: i,
        to: i,
        offset: 0,
      };
      if (life.bytes > 0) all.push(life);
      out.set(s, life);
      this.planned.set(s, { bodies: planned, spare });
    });
    return out;
  }

  /** The loop of a step with its places. */
  iterations(step: Step, home: Home, room: Range): Iterations {
    const node = step.loop!;
    const loop = node.loop!;
    const { bodies, spare } = this.planned.get(step)!;
    const space = new Space(this.context.options);
    space.end = spare;
    const beyond = (n: Node): Range => ({ ...rangeOf(room.arena, n), offset: room.offset + space.append(bytesOf(n)) });
    const place = (x: Node): Range => {
      const { node: root, offset } = pieceOf(x, (n) => home.has(n));
      const whole = home.rangeOf(root);
      return { ...whole, offset: whole.offset + 4 * offset, bytes: bytesOf(x), dtype: x.type.dtype, shape: sizes(x) };
    };
    const reads = new Map(
      step.roots.map((n) => [`${String(n.attrs.output)} ${n.attrs.iteration ?? ""} ${n.attrs.index}`, home.rangeOf(n)]),
    );
    const label = labelOf(step.roots[0]);
    const starts: IterationKernel[] = [];
    const carried = node.inputs.slice(0, loop.carried).map((x, i): Range => {
      const to = reads.get(`carried  ${i}`) ?? beyond(x);
      const value = fillOf(x);
      if (value !== undefined) starts.push(fillStep(to, value, label));
      else if (!sameRange(place(x), to)) starts.push(copyStep(place(x), to, bytesOf(x), x.type.dtype, label));
      return to;
    });
    const dumps = new Map<number, Range>();
    const read = readExports(step);
    const exported = (iteration: number, index: number, done: number): Range | undefined => {
      if (!read.has(index)) return undefined;
      const whole = reads.get(`joined  ${index}`);
      const n = loop.bodies[loop.iterations[iteration].body].results[loop.carried + index];
      if (whole) return { ...rangeOf(whole.arena, n), offset: whole.offset + done };
      const own = reads.get(`export ${iteration} ${index}`) ?? dumps.get(index) ?? beyond(n);
      if (!reads.has(`export ${iteration} ${index}`)) dumps.set(index, own);
      return own;
    };
    return { loop, starts, carried, given: node.inputs.slice(loop.carried).map(place), exported, room, bodies };
  }

  /** `read`: the exports that are read outside. */
  private body({ params }: Loop["bodies"][number], low: Lowered, carried: number, read: ReadonlySet<number>): PlannedBody {
    const { steps, inPlace } = low.scheduled;
    const where = new Map<Node, Range>();
    params.forEach((p, i) => {
      where.set(p, rangeOf(i < carried ? `carried ${i}` : `given ${i - carried}`, p));
    });
    for (const s of steps) for (const n of s.reads) if (isTable(n)) where.set(n, this.context.table(n));
    low.results.forEach((r, i) => {
      if (i >= carried && read.has(i - carried)) where.set(r.node, rangeOf(`export ${i - carried}`, r.node));
    });
    const makers = makersOf(steps);
    const copies: { from: Node; to: Range }[] = [];
    low.results.slice(0, carried).forEach((r, i) => {
      const target = where.get(params[i])!;
      if (inPlace.has(r) && overwrites(makers.get(r.node), r, target, where)) where.set(r.node, target);
      else copies.push({ from: r.node, to: target });
    });
    const { all, lives } = lifetimes(steps, copies, (n) => where.has(n));
    const inner = new Inner(low.bodies, this.context);
    const rooms = inner.rooms(steps, all);
    const bytes = allocate(all, new Space(this.context.options));
    for (const [n, life] of lives) where.set(n, { ...rangeOf("room", n), offset: life.offset });

    const place = (n: Node): Range => where.get(n) ?? missing(n);
    const home = { has: (n: Node) => where.has(n), rangeOf: place };
    const planned = steps.flatMap((s): (IterationKernel | Iterations)[] => {
      const last = s.roots[s.roots.length - 1];
      const [label, part] = [labelOf(last), partOf(last)];
      if (s.host) throw new Bug(`${s.host.op} of ${s.host.origin.path} is computed by the host, within a loop`);
      if (s.loop) {
        const { offset, bytes } = rooms.get(s)!;
        return [inner.iterations(s, home, { arena: "room", offset, bytes, dtype: "f32", shape: [bytes / 4] })];
      }
      return s.built.flatMap((b): IterationKernel[] => {
        const kernel = { ...joined(b.kernel, b.tensors.map(place), sameRange, label), part };
        if (!b.preserves) return [kernel];
        const [from, to] = [place(b.preserves), place(s.roots[0])];
        return sameRange(from, to) ? [kernel] : [{ ...copyStep(from, to, from.bytes, from.dtype, label), part }, kernel];
      });
    });
    for (const c of copies) planned.push(copyStep(place(c.from), c.to, c.to.bytes, c.to.dtype, labelOf(c.from)));
    return { bytes, steps: planned };
  }
}

const missing = (n: Node): never => {
  throw new Bug(`${n.op} of ${n.origin.path} has no place in its iteration`);
};

/** How many kernels `unfold` gives. */
export function unfolded({ loop, starts, bodies }: Iterations): number {
  const each = bodies.map(({ steps }) => steps.reduce((sum, s) => sum + ("kernel" in s ? 1 : unfolded(s)), 0));
  return loop.iterations.reduce((sum, { body }) => sum + each[body], starts.length);
}

/** All kernels of a loop, iteration by iteration. `outer` gives what the loop's own ranges are. */
export function* unfold(iterations: Iterations, outer: (r: Range) => Range = (r) => r): Generator<IterationKernel> {
  const { loop, starts, carried, given, exported, room, bodies } = iterations;
  const moved = (k: IterationKernel, place: (r: Range) => Range): IterationKernel => ({ ...k, operands: k.operands.map(place) });
  for (const k of starts) yield moved(k, outer);
  const next = bodies.length === 0 ? [] : loop.bodies[loop.iterations[0].body].results;
  const fixed = new Map<string, Range>([
    ...carried.map((r, i) => [`carried ${i}`, { ...outer(r), name: nameOf(next[i]) }] as const),
    ["room", outer(room)] as const,
  ]);
  const whole = given.map(outer);
  const cut = new Map((loop.sliced ?? []).map((k) => [k, 0]));
  const joinedSoFar: number[] = [];
  for (const [t, iteration] of loop.iterations.entries()) {
    const { params, results } = loop.bodies[iteration.body];
    const bases = new Map(fixed);
    iteration.args.forEach((k, i) => {
      const done = cut.get(k) ?? 0;
      bases.set(`given ${i}`, { ...whole[k], offset: whole[k].offset + done });
      if (cut.has(k)) cut.set(k, done + bytesOf(params[loop.carried + i]));
    });
    results.slice(loop.carried).forEach((n, i) => {
      const done = joinedSoFar[i] ?? 0;
      const to = exported(t, i, done);
      if (to) bases.set(`export ${i}`, outer(to));
      joinedSoFar[i] = done + bytesOf(n);
    });
    const inside = (r: Range): Range => {
      const base = bases.get(r.arena);
      return base ? { ...r, arena: base.arena, offset: base.offset + r.offset, name: r.name ?? base.name } : r;
    };
    for (const s of bodies[iteration.body].steps) {
      if ("kernel" in s) yield moved(s, inside);
      else yield* unfold(s, inside);
    }
  }
}

/** Writes one number everywhere. */
const fillStep = (to: Range, value: number, label: string): IterationKernel =>
  storeStep(
    { operands: [to], reads: 0, count: to.bytes / 4, dtype: to.dtype },
    () => ({ kind: "const", dtype: to.dtype, value }),
    `${label} start`,
  );
