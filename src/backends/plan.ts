/**
 * The memory plan: which tensor lies where, for all entries of a program together. Parameters and states are shared by name; inputs and
 * outputs, and activations, of different entries lie over each other, since one entry runs at a time. Activations get offsets by lifetime,
 * the largest first, at the lowest place that is free while they live.
 */

import type { Arena, ArenaName, Placed, StorageType } from "../ground/program.ts";
import { Bug, Limit, type Node, type Result, sizes } from "../ir/graph.ts";
import { attrsOf, rowOf } from "../ir/ops/index.ts";
import { Inner, type Range, unfold, unfolded } from "./iterations.ts";
import { isTable } from "./kernels/emit.ts";
import { isLeaf } from "./kernels/roots.ts";
import { isDerived } from "./load.ts";
import type { Lowered } from "./lower.ts";
import {
  allocate,
  bytesOf,
  copyStep,
  joined,
  labelOf,
  lifetimes,
  makersOf,
  overwrites,
  type PlannedKernel,
  type PlanOptions,
  partOf,
  Space,
} from "./places.ts";
import { type Scheduled, storageKey } from "./schedule.ts";
import type { Counted } from "./sparse.ts";

interface PlannedHost {
  readonly host: Node;
  readonly operands: readonly number[];
  readonly results: readonly number[];
  readonly label: string;
}
export type PlannedStep = PlannedKernel | PlannedHost;

interface PlannedEntry {
  readonly name: string;
  readonly steps: readonly PlannedStep[];
  /** How many there are, also those that are not written out. */
  readonly kernels: number;
  readonly inputs: ReadonlyMap<string, number>;
  readonly outputs: ReadonlyMap<string, number>;
}

export interface Plan {
  readonly arenas: readonly Arena[];
  readonly tensors: readonly Placed[];
  readonly entries: readonly PlannedEntry[];
  readonly params: ReadonlyMap<string, number>;
  readonly states: ReadonlyMap<string, number>;
  readonly constants: readonly { readonly tensor: number; readonly data: readonly number[] }[];
  /** Tensors of the measures handed in, in their order. */
  readonly measures: readonly { readonly counts: number; readonly flag: number }[];
}

export const NOTHING_COUNTED: Omit<Counted<never>, "entries"> = { measures: [], measureOf: new Map() };

interface PlanInput {
  readonly name: string;
  readonly scheduled: Scheduled;
  readonly results: readonly Result[];
  readonly bodies: Lowered["bodies"];
}

export function plan(inputs: readonly PlanInput[], options: PlanOptions, counted: Omit<Counted<never>, "entries"> = NOTHING_COUNTED): Plan {
  const spaces = new Map<ArenaName, Space>();
  const spaceOf = (arena: ArenaName) => {
    let s = spaces.get(arena);
    if (!s) {
      s = new Space(options);
      spaces.set(arena, s);
    }
    return s;
  };
  const tensors: Placed[] = [];
  const put = (arena: ArenaName, offset: number, dtype: StorageType, shape: readonly number[], name?: string): number => {
    const bytes = 4 * shape.reduce((a, b) => a * b, 1);
    tensors.push({ ...(name !== undefined && { name }), arena, ...spaceOf(arena).place(offset), bytes, dtype, shape });
    return tensors.length - 1;
  };

  /** A tensor as a range of its arena's space, and the tensor that is such a range. */
  const absolute = (t: number): Range => {
    const { arena, page, offset, bytes, dtype, name, shape } = tensors[t];
    return { arena, offset: spaceOf(arena).linear(page, offset), bytes, dtype, name, shape };
  };
  const ranges = new Map<string, number>();
  const at = (arena: ArenaName, offset: number, dtype: StorageType, bytes: number): number => {
    const key = `${arena} ${offset} ${bytes} ${dtype}`;
    let t = ranges.get(key);
    if (t === undefined) {
      t = put(arena, offset, dtype, [bytes / 4]);
      ranges.set(key, t);
    }
    return t;
  };

  // What is updated anywhere is trained.
  const updated = new Set(inputs.flatMap((e) => e.results.filter((r) => r.role !== "output").map((r) => storageKey(r.role, r.name))));
  const shared = new Map<string, number>();
  const params = new Map<string, number>();
  const states = new Map<string, number>();
  const persistent = (role: "param" | "state", name: string, dtype: StorageType, shape: readonly number[]): number => {
    const key = storageKey(role, name);
    const seen = shared.get(key);
    if (seen !== undefined) {
      if (tensors[seen].bytes !== 4 * shape.reduce((a, b) => a * b, 1))
        throw new Bug(`${role} ${name} has different sizes in different entries`);
      return seen;
    }
    const kept: ArenaName = role === "state" ? "states" : updated.has(key) && !isDerived(name) ? "trained" : "frozen";
    const arena: ArenaName = kept === "frozen" && options.stream?.has(name) ? "file" : kept;
    const t = put(arena, spaceOf(arena).append(4 * shape.reduce((a, b) => a * b, 1)), dtype, shape, name);
    shared.set(key, t);
    (role === "param" ? params : states).set(name, t);
    return t;
  };
  const constants: { tensor: number; data: readonly number[] }[] = [];
  const tables = new Map<string, number>();
  const table = (n: Node): number => {
    const data = attrsOf(n, "const").data as readonly number[];
    const key = `${n.type.dtype} ${sizes(n)} ${data}`;
    let t = tables.get(key);
    if (t === undefined) {
      t = put("constants", spaceOf("constants").append(bytesOf(n)), n.type.dtype, sizes(n));
      tables.set(key, t);
      constants.push({ tensor: t, data });
    }
    return t;
  };

  const counters = new Map<Node, number>();
  for (const m of counted.measures)
    for (const [n, what] of [
      [m.counts, "count"],
      [m.flag, "skips"],
    ] as const)
      counters.set(n, put("measures", spaceOf("measures").append(bytesOf(n)), "i32", sizes(n), `${n.origin.path} ${what}`.trim()));

  let io = 0;
  let activations = 0;
  const entries = inputs.map((entry): PlannedEntry => {
    const { steps, inPlace } = entry.scheduled;
    const where = new Map<Node, number>(counters);
    const ins = new Map<string, number>();
    const outs = new Map<string, number>();
    const ioSpace = new Space(options);
    const ioPut = (n: Node, name: string) => put("io", ioSpace.append(bytesOf(n)), n.type.dtype, sizes(n), name);
    const leaf = (n: Node): number => {
      let t = where.get(n);
      if (t !== undefined) return t;
      const supply = rowOf(n).supply;
      if (isTable(n)) t = table(n);
      else if (supply === "param" || supply === "state") t = persistent(supply, n.attrs.name as string, n.type.dtype, sizes(n));
      else {
        const name = n.attrs.name as string;
        t = ins.get(name);
        if (t === undefined) {
          t = ioPut(n, name);
          ins.set(name, t);
        }
      }
      where.set(n, t);
      return t;
    };
    for (const s of steps) for (const n of s.reads) if (isLeaf(n)) leaf(n);

    const makers = makersOf(steps);
    const copies: { from: Node; to: number; label: string }[] = [];
    for (const r of entry.results) {
      if (r.role === "output") {
        if (!where.has(r.node)) where.set(r.node, ioPut(r.node, r.name));
        outs.set(r.name, where.get(r.node)!);
        continue;
      }
      const target = persistent(r.role, r.name, r.node.type.dtype, sizes(r.node));
      if (inPlace.has(r) && !where.has(r.node) && overwrites(makers.get(r.node), r, target, where)) where.set(r.node, target);
      else copies.push({ from: r.node, to: target, label: labelOf(r.node) });
    }

    const { all, lives } = lifetimes(steps, copies, (n) => where.has(n));
    const inner = new Inner(entry.bodies, { options, table: (n) => absolute(table(n)) });
    const rooms = inner.rooms(steps, all);
    activations = Math.max(activations, allocate(all, spaceOf("activations")));
    for (const [n, life] of lives) where.set(n, put("activations", life.offset, n.type.dtype, sizes(n), labelOf(n)));
    io = Math.max(io, ioSpace.end);

    const planned: PlannedStep[] = [];
    let more = 0;
    const tensorOf = (n: Node): number => where.get(n) ?? leaf(n);
    const same = (a: number, b: number) => sameRange(tensors[a], tensors[b]);
    for (const s of steps) {
      const last = s.roots[s.roots.length - 1];
      const [label, part] = [labelOf(last), partOf(last)];
      if (s.loop) {
        const { offset, bytes } = rooms.get(s)!;
        const room: Range = { arena: "activations", offset, bytes, dtype: "f32", shape: [bytes / 4] };
        const home = { has: (n: Node) => where.has(n) || isLeaf(n), rangeOf: (n: Node) => absolute(tensorOf(n)) };
        const iterations = inner.iterations(s, home, room);
        if (options.outline) {
          more += unfolded(iterations);
          continue;
        }
        for (const k of unfold(iterations))
          planned.push({
            ...k,
            part: part ?? k.part,
            operands: k.operands.map((r) => at(r.arena as ArenaName, r.offset, r.dtype, r.bytes)),
            holds: k.operands.map(({ name, shape }) => ({ name, shape })),
          });
        continue;
      }
      if (s.host) {
        planned.push({ host: s.host, operands: s.host.inputs.map(tensorOf), results: [tensorOf(s.host)], label });
        continue;
      }
      for (const b of s.built) {
        if (b.preserves) {
          const [from, to] = [tensorOf(b.preserves), tensorOf(s.roots[0])];
          if (!same(from, to)) planned.push({ ...copyStep(from, to, bytesOf(b.preserves), b.preserves.type.dtype, label), part });
        }
        const measure = counted.measureOf.get(s.roots[0]);
        const kernel = { ...joined(b.kernel, b.tensors.map(tensorOf), same, label), part };
        planned.push(measure === undefined ? kernel : { ...kernel, measure });
      }
    }
    for (const c of copies)
      planned.push({ ...copyStep(tensorOf(c.from), c.to, bytesOf(c.from), c.from.type.dtype, c.label), part: partOf(c.from) });
    return { name: entry.name, steps: planned, kernels: planned.length + more, inputs: ins, outputs: outs };
  });
  spaceOf("io").end = io;
  spaceOf("activations").end = activations;

  const order: readonly ArenaName[] = ["frozen", "trained", "states", "activations", "io", "constants", "measures"];
  const arenas = order.flatMap((name): Arena[] => {
    const pages = spaces.get(name)?.pages() ?? [];
    return pages.length ? [{ name, pages }] : [];
  });
  const measures = counted.measures.map((m) => ({ counts: counters.get(m.counts)!, flag: counters.get(m.flag)! }));
  return { arenas, tensors, entries, params, states, constants, measures };
}

export const sameRange = (a: Placed, b: Placed): boolean => a.arena === b.arena && a.page === b.page && a.offset === b.offset;

/** Bytes of all arenas. */
export const peakBytes = (arenas: readonly Arena[]): number => arenas.reduce((sum, a) => sum + a.pages.reduce((x, y) => x + y, 0), 0);

/** Throws `Limit` where a plan is larger than an address space. */
export function checkSize(arenas: readonly Arena[], limit: number, device: string): void {
  const bytes = peakBytes(arenas);
  if (bytes <= limit) return;
  const gib = (n: number) => (n / 2 ** 30).toFixed(2);
  throw new Limit(
    `the plan needs ${gib(bytes)} GiB, and ${device} has ${gib(limit)}: a smaller batch or sequence needs less, and so do frozen weights in fewer bits: \`precision = "bf16"\`, or NF4 or Int8 attached in front`,
  );
}
