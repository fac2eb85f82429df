/**
 * How a processor with vectors goes through a loop kernel: which axis fills the lanes, what one unit of work covers, how many vectors are
 * taken at a time, and what is kept for later stages of a row. A printer says how each of these is spelt.
 */
import { Bug } from "../../ir/errors.ts";
import { axisIndex, flatten, type Index } from "../kernels/index.ts";
import { type LoopKernel, needed, type Reduction, rootsOf, type Store } from "../kernels/kernel.ts";
import { heldValues, isLong, laneAxis } from "./axes.ts";
import type { Lanes } from "./values.ts";

export interface Printed {
  /** Independent units of work. */
  readonly units: number;
  /** Bytes of scratch that each worker needs. */
  readonly scratch: number;
}

/** A reduction under way, in names of the printer's. */
export interface Accumulator {
  readonly reduction: Reduction;
  readonly total: string;
  /** argmax: the positions of the greatest. */
  readonly position?: string;
  /** max, min of f32: lanes in which a NaN was seen, where that is kept apart. */
  readonly unordered?: string;
}

/** A way along the lane axis, a group of vectors at a time. */
export interface Walk<L extends Lanes> {
  /** As long as there are `count` whole vectors ahead. */
  along(count: number, body: (group: readonly L[]) => void): void;
  /** The last, of `valid` elements, behind `whole` others; `when`: only in that part of the axis. */
  last(
    whole: number,
    valid: number,
    when: { readonly part: string; readonly is: number } | undefined,
    body: (group: readonly L[]) => void,
  ): void;
}

export interface LoopPrinter<L extends Lanes> {
  readonly width: number;
  /** Elements of the lane axis that a unit covers are a multiple of this. */
  readonly grain: number;
  readonly deps: readonly number[];
  readonly lanes: L;
  supply: (v: number) => string | undefined;
  /** For each unit of work that this call is given. */
  units(body: (unit: string) => void): void;
  /** Only where this call is given a unit at all. */
  unit(body: () => void): void;
  axisLoop(axis: number, size: number, body: () => void): void;
  /** `part`: of the axis, of `size` elements each; left out: it is gone along from its beginning. `whole`: elements in whole vectors. */
  walk(axis: number, whole: number, part?: { readonly number: string; readonly size: number }): Walk<L>;
  /** A name for a number; whole numbers of the host. */
  index(hint: string, value: string): string;
  readonly zero: string;
  quotient(of: string, by: number): string;
  remainder(of: string, by: number): string;
  takeAxis(axis: number, value: string): void;
  know(v: number, name: string): void;
  lift(roots: readonly number[], stores: readonly Store[], lane: number): void;
  need(roots: readonly number[]): void;
  withLanes(lanes: L, body: () => void): void;
  store(s: Store): void;
  /** Where the worker's scratch holds vectors of a value, `at` bytes on: put there, and read again. */
  hold(v: number, at: number): void;
  held(v: number, at: number): string;
  start(reductions: readonly Reduction[]): Accumulator[];
  /** `along`: lanes are successive places of the row, and not equal. */
  accumulate(acc: Accumulator, place: Index, along: boolean): void;
  /** What was kept apart is in the total. */
  settle(acc: Accumulator): void;
  /** Adds another's total. */
  merge(into: Accumulator, other: Accumulator): void;
  /** The result over the lanes, in all lanes. */
  acrossLanes(acc: Accumulator): string;
}

/** Elements of the lane axis that one unit covers where there are few other units. */
const CHUNK = 1024;
/** Vectors of an iteration where lanes run across a reduction. */
const GROUP = 4;
/** Small bodies take several accumulators, so that additions do not wait for each other. */
const SMALL_BODY = 14;

/** Lanes of a kernel's vectors: the machine's, or as many as its lane axis has, where those are fewer. */
export function widthFor(size: number, most: number): number {
  let width = most;
  while (width > 4 && size <= width / 2) width /= 2;
  return width;
}

/** `open` gives the printer for vectors of so many lanes; `most` is what the machine has. */
export function walkLoop<L extends Lanes>(
  kernel: LoopKernel,
  most: number,
  open: (width: number) => LoopPrinter<L>,
): Printed & { width: number } {
  if (kernel.axes.length === 0) {
    const p = open(4);
    p.unit(() => {
      const stage = kernel.stages[0];
      p.need(rootsOf(stage));
      for (const s of stage.stores) p.store(s);
    });
    return { units: 1, scratch: 0, width: 4 };
  }
  const lane = laneAxis(kernel, most);
  const p = open(widthFor(kernel.axes[lane], most));
  const printed = lane >= kernel.axes.length - kernel.row ? alongRows(kernel, p, lane) : acrossRows(kernel, p, lane);
  return { ...printed, width: p.width };
}

/** Sets the variables of `axes` from a unit's number. */
function decode<L extends Lanes>(p: LoopPrinter<L>, unit: string, axes: readonly number[], sizes: readonly number[]): void {
  let left = unit;
  for (let i = axes.length - 1; i >= 0; i--) {
    const size = sizes[axes[i]];
    p.takeAxis(axes[i], i === 0 ? left : p.remainder(left, size));
    if (i > 0) left = p.index("rest", p.quotient(left, size));
  }
}

const reducedValues = (kernel: LoopKernel, stage: number): Map<number, number> => {
  const out = new Map<number, number>();
  kernel.values.forEach((v, i) => {
    if (v.kind === "reduced" && v.stage === stage) out.set(v.slot, i);
  });
  return out;
};

const rowAxes = (kernel: LoopKernel): number[] => Array.from({ length: kernel.row }, (_, i) => kernel.axes.length - kernel.row + i);
const placeInRow = (kernel: LoopKernel): Index =>
  flatten(
    rowAxes(kernel).map(axisIndex),
    rowAxes(kernel).map((a) => kernel.axes[a]),
  );

/** Lanes run across an axis of independent results. */
function acrossRows<L extends Lanes>(kernel: LoopKernel, p: LoopPrinter<L>, lane: number): Printed {
  const { width, grain } = p;
  const size = kernel.axes[lane];
  const outer = Array.from({ length: kernel.axes.length - kernel.row }, (_, i) => i).filter((a) => a !== lane);
  const others = outer.reduce((n, a) => n * kernel.axes[a], 1);
  const rowSize = rowAxes(kernel).reduce((n, a) => n * kernel.axes[a], 1);
  const chunk =
    others * rowSize >= 64 && size <= 4 * CHUNK && kernel.row === 0 ? size : Math.max(grain, Math.ceil(CHUNK / rowSize / grain) * grain);
  const chunks = Math.ceil(size / chunk);
  const tail = size % width;
  const whole = size - tail;
  p.units((unit) => {
    const part = chunks === 1 ? p.zero : p.index("part", p.remainder(unit, chunks));
    decode(p, chunks === 1 ? unit : p.index("rest", p.quotient(unit, chunks)), outer, kernel.axes);
    const stores = kernel.stages.flatMap((s) => s.stores);
    p.lift(kernel.stages.flatMap(rootsOf), stores, lane);
    const walk = p.walk(lane, whole, chunks === 1 ? undefined : { number: part, size: chunk });
    const iteration = (group: readonly L[]) => stagesOf(kernel, p, group);
    if (kernel.row > 0 && Math.min(chunk, whole) >= GROUP * width) walk.along(GROUP, iteration);
    if (whole > 0) walk.along(1, iteration);
    if (tail) walk.last(whole, tail, chunks === 1 ? undefined : { part, is: chunks - 1 }, iteration);
  });
  return { units: others * chunks, scratch: 0 };
}

/** All stages for a few vectors of the lane axis. */
function stagesOf<L extends Lanes>(kernel: LoopKernel, p: LoopPrinter<L>, group: readonly L[]): void {
  const each = (body: (g: number) => void) => {
    group.forEach((lanes, g) => {
      p.withLanes(lanes, () => body(g));
    });
  };
  kernel.stages.forEach((stage, number) => {
    if (kernel.row === 0 || stage.over === "once") {
      each(() => {
        p.need(rootsOf(stage));
        for (const s of stage.stores) p.store(s);
      });
      return;
    }
    const accumulators = group.map(() => p.start(stage.reductions));
    each(() => p.lift(rootsOf(stage), [], -1));
    const nest = (axes: readonly number[]) => {
      if (axes.length === 0) {
        each((g) => {
          p.need(rootsOf(stage));
          for (const acc of accumulators[g]) p.accumulate(acc, placeInRow(kernel), false);
          for (const s of stage.stores) p.store(s);
        });
        return;
      }
      p.axisLoop(axes[0], kernel.axes[axes[0]], () => nest(axes.slice(1)));
    };
    nest(rowAxes(kernel));
    const values = reducedValues(kernel, number);
    each((g) => {
      accumulators[g].forEach((acc, slot) => {
        const v = values.get(slot);
        p.settle(acc);
        if (v !== undefined) p.know(v, acc.position ?? acc.total);
      });
    });
  });
}

/** Lanes run along the row that is reduced, or that several stages go over. */
function alongRows<L extends Lanes>(kernel: LoopKernel, p: LoopPrinter<L>, lane: number): Printed {
  const { width } = p;
  const parallel = Array.from({ length: kernel.axes.length - kernel.row }, (_, i) => i);
  const slots = heldValues(kernel);
  const rowBytes = 4 * width * Math.ceil(kernel.axes[lane] / width);
  const made = new Set<number>();
  p.supply = (v) => (slots.has(v) && made.has(v) && p.lanes.axis === lane ? p.held(v, slots.get(v)! * rowBytes) : undefined);
  p.units((unit) => {
    if (parallel.length) decode(p, unit, parallel, kernel.axes);
    made.clear();
    const stores = kernel.stages.flatMap((s) => s.stores);
    p.lift(kernel.stages.flatMap(rootsOf), stores, lane);
    kernel.stages.forEach((stage, number) => {
      if (stage.over === "once") {
        p.need(rootsOf(stage));
        for (const s of stage.stores) p.store(s);
      } else rowStage(kernel, p, { lane, number, slots, rowBytes, made });
    });
  });
  return { units: parallel.reduce((n, a) => n * kernel.axes[a], 1), scratch: slots.size * rowBytes };
}

interface RowState {
  readonly lane: number;
  /** Which stage. */
  readonly number: number;
  /** Values that stay in scratch from one stage to the next, and those of them that are there. */
  readonly slots: ReadonlyMap<number, number>;
  readonly rowBytes: number;
  readonly made: Set<number>;
}

/** One stage over the whole row. */
function rowStage<L extends Lanes>(kernel: LoopKernel, p: LoopPrinter<L>, { lane, number, slots, rowBytes, made }: RowState): void {
  const stage = kernel.stages[number];
  const tail = kernel.axes[lane] % p.width;
  const whole = kernel.axes[lane] - tail;
  p.lift(rootsOf(stage), stage.stores, lane);
  const varying = needed(kernel.values, rootsOf(stage)).filter((v) => p.deps[v] & (1 << lane));
  const small =
    stage.reductions.length > 0 &&
    stage.stores.length === 0 &&
    stage.reductions.every((r) => r.fn !== "argmax") &&
    varying.length <= SMALL_BODY &&
    !varying.some((v) => isLong(kernel, v));
  const count = small && whole >= 8 * p.width ? 4 : 1;
  const groups = Array.from({ length: count }, () => p.start(stage.reductions));
  const holds = varying.filter((v) => slots.has(v) && !made.has(v));
  const body = (group: readonly L[]) => {
    group.forEach((lanes, g) => {
      p.withLanes(lanes, () => {
        p.need(rootsOf(stage));
        for (const v of holds) p.hold(v, slots.get(v)! * rowBytes);
        for (const acc of groups[g]) p.accumulate(acc, placeInRow(kernel), true);
        for (const s of stage.stores) p.store(s);
      });
    });
  };
  const nest = (axes: readonly number[]) => {
    if (axes.length > 1) {
      p.axisLoop(axes[0], kernel.axes[axes[0]], () => {
        p.lift(rootsOf(stage), stage.stores, lane);
        nest(axes.slice(1));
      });
      return;
    }
    const walk = p.walk(lane, whole);
    if (count > 1) walk.along(count, body);
    if (whole > 0 && (count === 1 || whole % (p.width * count) !== 0)) walk.along(1, body);
    if (tail) walk.last(whole, tail, undefined, body);
  };
  nest(rowAxes(kernel));
  for (const v of holds) made.add(v);
  const values = reducedValues(kernel, number);
  stage.reductions.forEach((_, slot) => {
    const total = groups[0][slot];
    for (const other of groups.slice(1)) {
      if (total.position !== undefined) throw new Bug("argmax has one accumulator");
      p.merge(total, other[slot]);
    }
    const result = p.acrossLanes(total);
    const v = values.get(slot);
    if (v !== undefined) p.know(v, result);
  });
}
