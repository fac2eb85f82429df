/** Where values lie: a space in pages, how long each value lives, which may lie over which, and kernels with their places. */

import type { Part, StorageType } from "../ground/program.ts";
import { Bug, type Node, type Result } from "../ir/graph.ts";
import { mayOverwrite, merge } from "./alias.ts";
import type { Step } from "./kernels/fuse.ts";
import type { Index } from "./kernels/index.ts";
import type { LoopLanguage, Value } from "./kernels/kernel.ts";
import type { Held } from "./kernels/names.ts";
import { elements } from "./kernels/roots.ts";

export interface PlanOptions {
  /** Offsets are multiples of this. */
  readonly alignment: number;
  /** Bytes of the largest page; larger tensors go on in the pages after. */
  readonly page: number;
  /** Frozen parameters that stay in their files: see `stream.ts`. */
  readonly stream?: ReadonlySet<string>;
  /** Iterations of loops are counted, not written out. */
  readonly outline?: boolean;
}

/** A kernel and the places of its operands: tensors of the program, or ranges within an iteration of a loop. */
export interface PlannedKernel<T = number> {
  readonly kernel: LoopLanguage;
  /** Of a product that may skip zeros: see `Counted.measureOf`. */
  readonly measure?: number;
  readonly operands: readonly T[];
  /** What the operands hold, where they are ranges; left out: what the tensors say. */
  readonly holds?: readonly Held[];
  readonly label: string;
  readonly part?: Part | undefined;
}

/** A linear space cut into pages of equal size; what is smaller than a page never crosses a border. */
export class Space {
  end = 0;
  constructor(private readonly options: PlanOptions) {}

  /** The lowest offset from `from` on at which `bytes` may lie. */
  fit(from: number, bytes: number): number {
    const { alignment, page } = this.options;
    let at = Math.ceil(from / alignment) * alignment;
    if (!Number.isFinite(page)) return at;
    const size = Math.floor(page / alignment) * alignment;
    const inside = at % size;
    if (inside > 0 && inside + bytes > size) at += size - inside;
    return at;
  }
  append(bytes: number): number {
    const at = this.fit(this.end, bytes);
    this.end = at + bytes;
    return at;
  }
  place(offset: number): { page: number; offset: number } {
    const { alignment, page } = this.options;
    if (!Number.isFinite(page)) return { page: 0, offset };
    const size = Math.floor(page / alignment) * alignment;
    return { page: Math.floor(offset / size), offset: offset % size };
  }
  /** The offset in the space of what lies at `offset` of a page. */
  linear(page: number, offset: number): number {
    const { alignment, page: whole } = this.options;
    return page === 0 ? offset : page * Math.floor(whole / alignment) * alignment + offset;
  }
  pages(): number[] {
    if (this.end === 0) return [];
    const { alignment, page } = this.options;
    const size = Number.isFinite(page) ? Math.floor(page / alignment) * alignment : this.end;
    const out: number[] = [];
    for (let rest = this.end; rest > 0; rest -= size) out.push(Math.ceil(Math.min(rest, size) / 16) * 16);
    return out;
  }
}

export interface Life {
  readonly bytes: number;
  readonly from: number;
  to: number;
  offset: number;
}

/** Offsets for values that live from one step to another (both inclusive); gives the bytes used. */
export function allocate(lives: readonly Life[], space: { fit(from: number, bytes: number): number }): number {
  const placed: Life[] = [];
  let end = 0;
  for (const life of [...lives].sort((a, b) => b.bytes - a.bytes || a.from - b.from)) {
    let at = space.fit(0, life.bytes);
    // `placed` is in the order of offsets.
    for (const other of placed) {
      if (other.to < life.from || other.from > life.to) continue;
      if (other.offset >= at + life.bytes) break;
      if (other.offset + other.bytes > at) at = space.fit(other.offset + other.bytes, life.bytes);
    }
    life.offset = at;
    end = Math.max(end, at + life.bytes);
    let i = placed.length;
    while (i > 0 && placed[i - 1].offset > at) i--;
    placed.splice(i, 0, life);
  }
  return end;
}

export const bytesOf = (n: Node): number => 4 * elements(n);

export const labelOf = (n: Node): string => (n.origin.path ? `${n.origin.path} ${n.op}` : n.op);

/** The part of a step that a value belongs to; `undefined`: forward. */
export function partOf(n: Node): Part | undefined {
  if (n.origin.recomputed !== undefined || n.origin.recompute?.copy) return "recompute";
  if (n.origin.half !== undefined) return "backward";
  return n.backward ? "update" : undefined;
}

/** The step that makes each root. */
export const makersOf = (steps: readonly Step[]): ReadonlyMap<Node, Step> =>
  new Map(steps.flatMap((s) => s.roots.map((n) => [n, s] as const)));

/** Whether the step that makes a next value may write it over the old one, which it may read itself. */
export function overwrites<T>(step: Step | undefined, r: Result, target: T, where: ReadonlyMap<Node, T>): boolean {
  if (!step || step.host || step.loop) return false;
  return step.built.every((b) => {
    const out = b.tensors.indexOf(r.node);
    return b.tensors.every((t, i) => where.get(t) !== target || (i !== out && !b.preserves && mayOverwrite(b.kernel, i, out)));
  });
}

/** When values live that steps store and that have no place yet, and results that take the place of an operand that dies with them. */
export function lifetimes(
  steps: readonly Step[],
  copies: readonly { readonly from: Node }[],
  placed: (n: Node) => boolean,
): { all: Life[]; lives: Map<Node, Life> } {
  const last = new Map<Node, number>();
  steps.forEach((s, i) => {
    for (const n of s.reads) last.set(n, i);
  });
  for (const c of copies) last.set(c.from, steps.length);
  const lives = new Map<Node, Life>();
  const all: Life[] = [];
  steps.forEach((s, i) => {
    /** Places that results of this step took over; one that nobody reads ends with the step, as what was there before did. */
    const taken = new Set<Life>();
    for (const n of s.roots) {
      if (placed(n)) continue;
      // Kept inside the kernel: nobody outside reads it, and no kernel stores it.
      if (!s.host && !s.loop && !s.built.some((b) => b.tensors.includes(n))) continue;
      const end = last.get(n) ?? i;
      const reuse = reusable(s, n, i, last, lives, taken);
      if (reuse) {
        taken.add(reuse);
        reuse.to = end;
        lives.set(n, reuse);
        continue;
      }
      const life: Life = { bytes: bytesOf(n), from: i, to: end, offset: 0 };
      lives.set(n, life);
      all.push(life);
    }
  });
  return { all, lives };
}

/** An activation that dies in step `i` and over which the step may write `n`. */
function reusable(
  s: Step,
  n: Node,
  i: number,
  last: ReadonlyMap<Node, number>,
  lives: ReadonlyMap<Node, Life>,
  taken: ReadonlySet<Life>,
): Life | undefined {
  if (s.built.length !== 1) return undefined;
  const [b] = s.built;
  const out = b.tensors.indexOf(n);
  const free = (t: Node) => {
    const life = lives.get(t);
    // The value must die here, and so must whatever else shares its place.
    return life && !taken.has(life) && life.to === i && last.get(t) === i && life.bytes === bytesOf(n) && !s.roots.includes(t)
      ? life
      : undefined;
  };
  if (b.preserves) return b.tensors.includes(b.preserves) ? undefined : free(b.preserves);
  if (b.kernel.operands[out].access !== "write") return undefined;
  for (let o = 0; o < b.tensors.length; o++) {
    if (o === out) continue;
    const life = free(b.tensors[o]);
    if (life && mayOverwrite(b.kernel, o, out)) return life;
  }
  return undefined;
}

/** The kernel with operands that lie at one place made one. */
export function joined<T>(kernel: LoopLanguage, operands: T[], same: (a: T, b: T) => boolean, label: string): PlannedKernel<T> {
  for (let out = operands.length - 1; out >= 0; out--) {
    if (kernel.operands[out].access === "read") continue;
    const other = operands.findIndex((t, i) => i !== out && same(t, operands[out]));
    if (other < 0) continue;
    if (!mayOverwrite(kernel, other, out)) throw new Bug(`${label}: a result lies over an operand that is still read`);
    kernel = merge(kernel, other, out);
    operands = operands.filter((_, i) => i !== out);
  }
  return { kernel, operands, label };
}

/** A kernel that goes over `count` elements and stores a value to the last of its operands. */
export function storeStep<T>(
  at: { readonly operands: readonly T[]; readonly reads: number; readonly count: number; readonly dtype: StorageType },
  value: (index: Index) => Value,
  label: string,
): PlannedKernel<T> {
  const { operands, reads, count, dtype } = at;
  const index: Index = { base: 0, terms: [{ factor: 1, atom: { kind: "axis", axis: 0 } }] };
  return {
    kernel: {
      kind: "loop",
      name: "",
      axes: [count],
      row: 0,
      operands: operands.map((_, i) =>
        i < reads ? { name: `x${i}`, dtype, count, access: "read" } : { name: `out${i}`, dtype, count, access: "write" },
      ),
      values: [value(index)],
      stages: [{ over: "row", reductions: [], stores: [{ operand: reads, index, value: 0 }] }],
    },
    operands: [...operands],
    label,
  };
}

export const copyStep = <T>(from: T, to: T, bytes: number, dtype: StorageType, label: string): PlannedKernel<T> =>
  storeStep(
    { operands: [from, to], reads: 1, count: bytes / 4, dtype },
    (index) => ({ kind: "load", dtype, operand: 0, index }),
    `${label} copy`,
  );
