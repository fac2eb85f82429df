/** Prints loop kernels: maps and rows, vectors of the machine's width. What is invariant in a loop is left to the compiler to lift. */
import { Bug } from "../../ir/errors.ts";
import { axisIndex, flatten, type Index } from "../kernels/index.ts";
import { type LoopKernel, needed, type Reduction, rootsOf } from "../kernels/kernel.ts";
import { heldValues, isLong, laneAxis } from "../lanes.ts";
import { letterOf, literal, vectorType } from "./spelling.ts";
import { type Code, divide, f32, i32, mul, rest } from "./text.ts";
import { type LaneState, Printer } from "./values.ts";

export interface Printed {
  /** Independent units of work. */
  readonly units: number;
  /** Bytes of scratch that each worker needs. */
  readonly scratch: number;
}

/** Elements of the lane axis that one unit covers where there are few other units. */
const CHUNK = 1024;
/** Vectors of one turn where lanes run across a reduction. */
const GROUP = 4;

/** Lanes of a kernel's vectors: the machine's, or as many as its lane axis has, where those are fewer. */
export function widthFor(size: number, most: number): number {
  let width = most;
  while (width > 4 && size <= width / 2) width /= 2;
  return width;
}

export function printLoop(kernel: LoopKernel, code: Code, most: number): Printed & { readonly width: number } {
  if (kernel.axes.length === 0) {
    const p = new Printer(kernel, code, 4);
    // a single element
    p.block("if (from < to)", () => {
      const stage = kernel.stages[0];
      p.need(rootsOf(stage));
      for (const s of stage.stores) p.store(s);
    });
    return { units: 1, scratch: 0, width: 4 };
  }
  const lane = laneAxis(kernel, most);
  const width = widthFor(kernel.axes[lane], most);
  const p = new Printer(kernel, code, width);
  const printed = lane >= kernel.axes.length - kernel.row ? printRows(kernel, p, lane) : printAcross(kernel, p, lane);
  return { ...printed, width };
}

/** Sets the variables of `axes` from a unit's number. */
function decode(p: Printer, unit: string, axes: readonly number[], sizes: readonly number[]): void {
  let left = unit;
  for (let i = axes.length - 1; i >= 0; i--) {
    const size = sizes[axes[i]];
    p.setAxis(axes[i], p.code.let("ix", `a${axes[i]}`, i === 0 ? left : rest(left, size)));
    if (i > 0) left = p.code.let("ix", "rest", divide(left, size));
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
const rowPosition = (kernel: LoopKernel): Index =>
  flatten(
    rowAxes(kernel).map(axisIndex),
    rowAxes(kernel).map((a) => kernel.axes[a]),
  );

// ---- lanes across a parallel axis

function printAcross(kernel: LoopKernel, p: Printer, lane: number): Printed {
  const { code, width } = p;
  const size = kernel.axes[lane];
  const first = kernel.axes.length - kernel.row;
  const outer = Array.from({ length: first }, (_, i) => i).filter((a) => a !== lane);
  const others = outer.reduce((n, a) => n * kernel.axes[a], 1);
  const rowSize = rowAxes(kernel).reduce((n, a) => n * kernel.axes[a], 1);
  const chunk = others * rowSize >= 64 && size <= 4 * CHUNK && kernel.row === 0 ? size : Math.max(64, Math.ceil(CHUNK / rowSize / 64) * 64);
  const chunks = Math.ceil(size / chunk);
  const tail = size % width;
  const whole = size - tail;
  const roots = kernel.stages.flatMap(rootsOf);

  p.loop("u", "from", "to", 1, (u) => {
    const part = chunks === 1 ? "0" : code.let("ix", "part", rest(u, chunks));
    decode(p, chunks === 1 ? u : code.let("ix", "rest", divide(u, chunks)), outer, kernel.axes);
    p.lift(roots);
    const begin = code.variable("ix", "x", mul(part, chunk));
    const end = chunks === 1 ? String(whole) : code.let("ix", "end", `least(${begin} + ${chunk}, ${whole})`);
    const lanes = (at: string, offset: number, valid: number): LaneState => ({ axis: lane, at, offset, valid });
    const along = (limit: string, count: number) =>
      p.block(`for (; ${begin} < ${limit}; ${begin} += ${count * width})`, () =>
        turn(
          kernel,
          p,
          Array.from({ length: count }, (_, g) => lanes(begin, g * width, width)),
        ),
      );
    if (kernel.row > 0 && Math.min(chunk, whole) >= GROUP * width) along(`${end} - ${(GROUP - 1) * width}`, GROUP);
    if (whole > 0) along(end, 1);
    if (tail)
      p.block(chunks === 1 ? "" : `if (${part} == ${chunks - 1})`, () => {
        turn(kernel, p, [lanes(code.let("ix", "x", String(whole)), 0, tail)]);
      });
  });
  return { units: others * chunks, scratch: 0 };
}

/** All stages for a few vectors of the lane axis. */
function turn(kernel: LoopKernel, p: Printer, group: readonly LaneState[]): void {
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
    const accumulators = group.map(() => start(p, stage.reductions));
    each(() => p.lift(rootsOf(stage)));
    const position = rowPosition(kernel);
    const nest = (axes: readonly number[]) => {
      if (axes.length === 0) {
        each((g) => {
          p.need(rootsOf(stage));
          for (const acc of accumulators[g]) accumulate(p, acc, () => `splat_i${p.width}((i32)(${p.scalarIndex(position)}))`);
          for (const s of stage.stores) p.store(s);
        });
        return;
      }
      p.loop(`a${axes[0]}`, "0", String(kernel.axes[axes[0]]), 1, (name) => {
        p.setAxis(axes[0], name);
        nest(axes.slice(1));
      });
    };
    nest(rowAxes(kernel));
    const values = reducedValues(kernel, number);
    each((g) => {
      accumulators[g].forEach((acc, slot) => {
        const v = values.get(slot);
        if (v !== undefined) p.know(v, acc.position ?? acc.total);
      });
    });
  });
}

// ---- lanes along the row

/** Small bodies take several accumulators, so that additions do not wait for each other. */
const SMALL_BODY = 14;

function printRows(kernel: LoopKernel, p: Printer, lane: number): Printed {
  const { code, width } = p;
  const first = kernel.axes.length - kernel.row;
  const parallel = Array.from({ length: first }, (_, i) => i);
  const size = kernel.axes[lane];
  const tail = size % width;
  const whole = size - tail;
  const roots = kernel.stages.flatMap(rootsOf);
  const held = heldValues(kernel);
  const rowBytes = 4 * width * Math.ceil(size / width);
  const made = new Set<number>();
  const place = (v: number) =>
    `*(u${letterOf(kernel.values[v].dtype)}${width} *)(scratch + ${held.get(v)! * rowBytes} + 4 * (${p.lanes.at} + ${p.lanes.offset}))`;
  p.supply = (v) => (held.has(v) && made.has(v) && p.lanes.axis === lane ? place(v) : undefined);

  p.loop("u", "from", "to", 1, (u) => {
    if (parallel.length) decode(p, u, parallel, kernel.axes);
    made.clear();
    p.lift(roots);
    kernel.stages.forEach((stage, number) => {
      if (stage.over === "once") {
        p.need(rootsOf(stage));
        for (const s of stage.stores) p.store(s);
        return;
      }
      p.lift(rootsOf(stage));
      const needs = needed(kernel.values, rootsOf(stage));
      const varying = needs.filter((v) => p.deps[v] & (1 << lane));
      const small =
        stage.reductions.length > 0 &&
        stage.stores.length === 0 &&
        stage.reductions.every((r) => r.fn !== "argmax") &&
        varying.length <= SMALL_BODY &&
        !varying.some((v) => isLong(kernel, v));
      const count = small && whole >= 8 * width ? 4 : 1;
      const groups = Array.from({ length: count }, () => start(p, stage.reductions));
      const holds = varying.filter((v) => held.has(v) && !made.has(v));
      const body = (lanes: readonly LaneState[]) => {
        lanes.forEach((state, g) => {
          p.withLanes(state, () => {
            p.need(rootsOf(stage));
            for (const v of holds) code.line(`${place(v)} = ${p.of(v)};`);
            for (const acc of groups[g]) accumulate(p, acc, () => vectorPosition(kernel, p));
            for (const s of stage.stores) p.store(s);
          });
        });
      };
      const nest = (axes: readonly number[]) => {
        if (axes.length === 1) {
          const x = code.variable("ix", "x", "0");
          const along = (limit: number, n: number) =>
            p.block(`for (; ${x} < ${limit}; ${x} += ${n * width})`, () =>
              body(Array.from({ length: n }, (_, g) => ({ axis: lane, at: x, offset: g * width, valid: width }))),
            );
          if (count > 1) along(whole - width * (count - 1), count);
          if (whole > 0 && (count === 1 || whole % (width * count) !== 0)) along(whole, 1);
          if (tail) p.block("", () => body([{ axis: lane, at: code.let("ix", "x", String(whole)), offset: 0, valid: tail }]));
          return;
        }
        p.loop(`a${axes[0]}`, "0", String(kernel.axes[axes[0]]), 1, (name) => {
          p.setAxis(axes[0], name);
          p.lift(rootsOf(stage));
          nest(axes.slice(1));
        });
      };
      nest(rowAxes(kernel));
      for (const v of holds) made.add(v);
      const values = reducedValues(kernel, number);
      stage.reductions.forEach((r, slot) => {
        const total = groups[0][slot];
        for (const g of groups.slice(1)) {
          if (total.position !== undefined) throw new Bug("argmax has one accumulator");
          code.set(total.total, merged(r, p.width, total.total, g[slot].total));
        }
        const v = values.get(slot);
        if (v !== undefined) p.know(v, acrossLanes(p, total));
      });
    });
  });
  return { units: parallel.reduce((n, a) => n * kernel.axes[a], 1), scratch: held.size * rowBytes };
}

const vectorPosition = (kernel: LoopKernel, p: Printer): string =>
  `splat_i${p.width}((i32)(${p.scalarIndex(rowPosition(kernel))})) + LANES${p.width}`;

// ---- reductions

interface Accumulator {
  readonly reduction: Reduction;
  readonly total: string;
  /** argmax: the positions of the greatest. */
  readonly position?: string;
}

function identity(r: Reduction, width: number): string {
  const edge = r.fn === "sum" ? 0 : r.fn === "min" ? 1 : -1;
  if (r.dtype === "f32") return `splat_f${width}(${f32(edge === 0 ? 0 : edge * Number.POSITIVE_INFINITY)})`;
  return `splat_i${width}(${i32(edge === 0 ? 0 : edge > 0 ? 0x7fffffff : -0x80000000)})`;
}
function start(p: Printer, reductions: readonly Reduction[]): Accumulator[] {
  return reductions.map((reduction) => {
    const total = p.code.variable(vectorType(reduction.dtype, p.width), "acc", identity(reduction, p.width));
    if (reduction.fn !== "argmax") return { reduction, total };
    return { reduction, total, position: p.code.variable(`vi${p.width}`, "pos", literal(0, "i32", p.width)) };
  });
}
function merged(r: Reduction, width: number, a: string, b: string): string {
  return r.fn === "sum" ? `${a} + ${b}` : `${r.fn}_${letterOf(r.dtype)}${width}(${a}, ${b})`;
}
function accumulate(p: Printer, { reduction, total, position }: Accumulator, at: () => string): void {
  const { code, width } = p;
  const value = p.filled(reduction.value, identity(reduction, width));
  if (position === undefined) {
    code.set(total, merged(reduction, width, total, value));
    return;
  }
  const letter = letterOf(reduction.dtype);
  const v = code.let(vectorType(reduction.dtype, width), "x", value);
  const better = code.let(`vi${width}`, "m", `${v} > ${total}`);
  code.set(total, `sel_${letter}${width}(${better}, ${v}, ${total})`);
  code.set(position, `sel_i${width}(${better}, ${at()}, ${position})`);
}
/** The result over the lanes, in all lanes. */
function acrossLanes(p: Printer, { reduction: r, total, position }: Accumulator): string {
  const { code, width } = p;
  const letter = letterOf(r.dtype);
  if (position === undefined) {
    const name = r.fn === "sum" ? "sum" : r.fn === "max" ? "most" : "least";
    return code.let(vectorType(r.dtype, width), "r", `splat_${letter}${width}(${name}_${letter}${width}(${total}))`);
  }
  const best = code.variable(r.dtype === "f32" ? "f32" : "i32", "best", `${total}[0]`);
  const at = code.variable("i32", "at", `${position}[0]`);
  p.block(`for (int l = 1; l < ${width}; l++)`, () => {
    p.block(`if (${total}[l] > ${best} || (${total}[l] == ${best} && ${position}[l] < ${at}))`, () => {
      code.set(best, `${total}[l]`);
      code.set(at, `${position}[l]`);
    });
  });
  return code.let(`vi${width}`, "r", `splat_i${width}(${at})`);
}
