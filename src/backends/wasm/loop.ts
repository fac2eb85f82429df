/** Prints loop kernels: maps and rows, four lanes at a time. */
import { Bug } from "../../ir/errors.ts";
import { axisIndex, flatten, type Index } from "../kernels/index.ts";
import { type LoopKernel, needed, rootsOf } from "../kernels/kernel.ts";
import { heldValues, isLong, laneAxis } from "../lanes.ts";
import { accumulate, acrossLanes, merged, start, totalOf } from "./accumulate.ts";
import type { LaneState } from "./indices.ts";
import { add, type Code, divU, get, i32, mul, remU } from "./text.ts";
import { Printer } from "./values.ts";

export interface Printed {
  /** Independent units of work. */
  readonly units: number;
  /** Bytes of scratch that each worker needs. */
  readonly scratch: number;
}

/** Elements of the lane axis that one unit covers where there are few other units. */
const CHUNK = 1024;
/** Vectors of one turn where lanes run across a reduction: a cache line. */
const GROUP = 4;

export function printLoop(
  kernel: LoopKernel,
  code: Code,
  pointers: readonly string[],
  [from, to]: readonly [string, string],
  scratch: string,
): Printed {
  const p = new Printer(kernel, code, pointers);
  if (kernel.axes.length === 0) {
    // A single element.
    code.if(`(i32.lt_s ${get(from)} ${get(to)})`, () => {
      const stage = kernel.stages[0];
      p.startCounts();
      p.need(rootsOf(stage));
      for (const s of stage.stores) p.store(s);
      p.storeCounts(from);
    });
    return { units: 1, scratch: 0 };
  }
  const lane = laneAxis(kernel, 4);
  return lane >= kernel.axes.length - kernel.row
    ? printRows(kernel, p, code, lane, [from, to], scratch)
    : printAcross(kernel, p, code, lane, [from, to]);
}

/** Sets the variables of `axes` from a unit's number. */
function decode(p: Printer, code: Code, unit: string, axes: readonly number[], sizes: readonly number[]): void {
  let rest = get(unit);
  for (let i = axes.length - 1; i >= 0; i--) {
    const size = sizes[axes[i]];
    if (i === 0) p.setAxis(axes[i], code.let("i32", `a${axes[i]}`, rest));
    else {
      p.setAxis(axes[i], code.let("i32", `a${axes[i]}`, remU(rest, size)));
      rest = get(code.let("i32", "rest", divU(rest, size)));
    }
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

function printAcross(kernel: LoopKernel, p: Printer, code: Code, lane: number, [from, to]: readonly [string, string]): Printed {
  const size = kernel.axes[lane];
  const first = kernel.axes.length - kernel.row;
  const outer = Array.from({ length: first }, (_, i) => i).filter((a) => a !== lane);
  const others = outer.reduce((n, a) => n * kernel.axes[a], 1);
  const rowSize = rowAxes(kernel).reduce((n, a) => n * kernel.axes[a], 1);
  const chunk = others * rowSize >= 64 && size <= 4 * CHUNK && kernel.row === 0 ? size : Math.max(16, Math.ceil(CHUNK / rowSize / 16) * 16);
  const chunks = Math.ceil(size / chunk);
  const whole = size - (size % 4);
  const roots = kernel.stages.flatMap(rootsOf);
  const stores = kernel.stages.flatMap((s) => s.stores);

  const unit = code.let("i32", "u", get(from));
  const bytes = code.local("i32", "x");
  const end = code.local("i32", "end");
  code.loop(unit, get(to), 1, () => {
    p.startCounts();
    p.scope(() => {
      const part = chunks === 1 ? i32(0) : get(code.let("i32", "part", remU(get(unit), chunks)));
      const rest = chunks === 1 ? unit : code.let("i32", "rest", divU(get(unit), chunks));
      decode(p, code, rest, outer, kernel.axes);
      p.futureLane = lane;
      p.lift(roots, stores);
      code.set(bytes, mul(part, 4 * chunk));
      if (chunks === 1) code.set(end, i32(4 * whole));
      else {
        code.set(end, add(get(bytes), i32(4 * chunk)));
        code.set(end, `(select ${get(end)} ${i32(4 * whole)} (i32.lt_u ${get(end)} ${i32(4 * whole)}))`);
      }
      const lanes = (offset: number, valid: number): LaneState => ({ axis: lane, bytes, offset, valid });
      if (kernel.row > 0 && Math.min(chunk, whole) >= 4 * GROUP) {
        const limit = code.let("i32", "lim", add(get(end), i32(-16 * (GROUP - 1))));
        code.loop(bytes, get(limit), 16 * GROUP, () =>
          turn(
            kernel,
            p,
            code,
            Array.from({ length: GROUP }, (_, g) => lanes(16 * g, 4)),
          ),
        );
      }
      if (whole > 0) code.loop(bytes, get(end), 16, () => turn(kernel, p, code, [lanes(0, 4)]));
      if (size % 4) {
        const last = () => {
          code.set(bytes, i32(4 * whole));
          turn(kernel, p, code, [lanes(0, size % 4)]);
        };
        if (chunks === 1) last();
        else code.if(`(i32.eq ${part} ${i32(chunks - 1)})`, last);
      }
    });
    p.storeCounts(unit);
  });
  return { units: others * chunks, scratch: 0 };
}

/** All stages for a few vectors of the lane axis. */
function turn(kernel: LoopKernel, p: Printer, code: Code, group: readonly LaneState[]): void {
  const each = (body: (g: number) => void) => {
    group.forEach((lanes, g) => {
      p.withLanes(lanes, () => body(g));
    });
  };
  p.scope(() => {
    kernel.stages.forEach((stage, number) => {
      if (kernel.row === 0 || stage.over === "once") {
        each(() => {
          p.need(rootsOf(stage));
          for (const s of stage.stores) p.store(s);
        });
        return;
      }
      const accumulators = group.map(() => start(code, stage.reductions));
      each(() => {
        p.lift(rootsOf(stage));
      });
      const position = rowPosition(kernel);
      const nest = (axes: readonly number[]) => {
        if (axes.length === 0) {
          each((g) => {
            p.need(rootsOf(stage));
            accumulators[g].forEach((acc) => {
              accumulate(p, code, acc, () => `(i32x4.splat ${p.scalarIndex(position, 0)})`);
            });
            for (const s of stage.stores) p.store(s);
          });
          return;
        }
        const variable = code.let("i32", `a${axes[0]}`, i32(0));
        code.loop(variable, i32(kernel.axes[axes[0]]), 1, () => {
          p.scope(() => {
            p.setAxis(axes[0], variable);
            nest(axes.slice(1));
          });
        });
      };
      nest(rowAxes(kernel));
      const values = reducedValues(kernel, number);
      each((g) => {
        accumulators[g].forEach((acc, slot) => {
          const v = values.get(slot);
          if (acc.unordered) code.set(acc.total, totalOf(acc));
          if (v !== undefined) p.know(v, acc.position ?? acc.total);
        });
      });
    });
  });
}

// ---- lanes along the row

/** Small bodies take several accumulators, so that additions do not wait for each other. */
const SMALL_BODY = 14;

function printRows(
  kernel: LoopKernel,
  p: Printer,
  code: Code,
  lane: number,
  [from, to]: readonly [string, string],
  scratch: string,
): Printed {
  const first = kernel.axes.length - kernel.row;
  const parallel = Array.from({ length: first }, (_, i) => i);
  const size = kernel.axes[lane];
  const whole = size - (size % 4);
  const bytes = code.local("i32", "x");
  const roots = kernel.stages.flatMap(rootsOf);
  const stores = kernel.stages.flatMap((s) => s.stores);
  const held = heldValues(kernel);
  const rowBytes = 16 * Math.ceil(size / 4);
  const made = new Set<number>();
  p.supply = (v) => {
    const slot = held.get(v);
    return slot !== undefined && made.has(v) && p.lanes.axis === lane
      ? `(v128.load ${p.lanes.offset + slot * rowBytes ? `offset=${p.lanes.offset + slot * rowBytes}` : ""} (i32.add ${get(scratch)} ${get(bytes)}))`
      : undefined;
  };

  const unit = code.let("i32", "u", get(from));
  code.loop(unit, get(to), 1, () => {
    p.startCounts();
    p.scope(() => {
      if (parallel.length) decode(p, code, unit, parallel, kernel.axes);
      made.clear();
      p.futureLane = lane;
      p.lift(roots, stores);
      kernel.stages.forEach((stage, number) => {
        if (stage.over === "once") {
          p.need(rootsOf(stage));
          for (const s of stage.stores) p.store(s);
          return;
        }
        p.lift(rootsOf(stage), stage.stores);
        const needs = needed(kernel.values, rootsOf(stage));
        const varying = needs.filter((v) => p.deps[v] & (1 << lane));
        const small =
          stage.reductions.length > 0 &&
          stage.stores.length === 0 &&
          stage.reductions.every((r) => r.fn !== "argmax") &&
          varying.length <= SMALL_BODY &&
          !varying.some((v) => isLong(kernel, v));
        const width = small && whole >= 32 ? 4 : 1;
        const groups = Array.from({ length: width }, () => start(code, stage.reductions));
        const holds = varying.filter((v) => held.has(v) && !made.has(v));
        const body = (lanes: readonly LaneState[]) => {
          p.scope(() => {
            lanes.forEach((state, g) => {
              p.withLanes(state, () => {
                p.need(rootsOf(stage));
                for (const v of holds)
                  code.line(
                    `(v128.store offset=${state.offset + held.get(v)! * rowBytes} (i32.add ${get(scratch)} ${get(bytes)}) ${p.of(v)})`,
                  );
                groups[g].forEach((acc) => {
                  accumulate(p, code, acc, () => vectorPosition(kernel, p, lane, state));
                });
                for (const s of stage.stores) p.store(s);
              });
            });
          });
        };
        const state = (offset: number, valid: number): LaneState => ({ axis: lane, bytes, offset, valid });
        const nest = (axes: readonly number[]) => {
          if (axes.length === 1) {
            code.set(bytes, i32(0));
            if (width > 1)
              code.loop(bytes, i32(4 * (whole - 4 * (width - 1))), 16 * width, () =>
                body(Array.from({ length: width }, (_, g) => state(16 * g, 4))),
              );
            if (whole > 0 && (width === 1 || whole % (4 * width) !== 0)) code.loop(bytes, i32(4 * whole), 16, () => body([state(0, 4)]));
            if (size % 4) {
              code.set(bytes, i32(4 * whole));
              body([state(0, size % 4)]);
            }
            return;
          }
          const variable = code.let("i32", `a${axes[0]}`, i32(0));
          code.loop(variable, i32(kernel.axes[axes[0]]), 1, () => {
            p.scope(() => {
              p.setAxis(axes[0], variable);
              p.lift(rootsOf(stage), stage.stores);
              nest(axes.slice(1));
            });
          });
        };
        nest(rowAxes(kernel));
        for (const v of holds) made.add(v);
        const values = reducedValues(kernel, number);
        stage.reductions.forEach((r, slot) => {
          const total = groups[0][slot];
          for (const g of groups.slice(1)) {
            const other = g[slot];
            if (total.position !== undefined) throw new Bug("argmax has one accumulator");
            code.set(total.total, merged(r, totalOf(total), totalOf(other)));
          }
          const v = values.get(slot);
          const result = acrossLanes(code, total);
          if (v !== undefined) p.know(v, result);
        });
      });
    });
    p.storeCounts(unit);
  });
  return { units: parallel.reduce((n, a) => n * kernel.axes[a], 1), scratch: held.size * rowBytes };
}

function vectorPosition(kernel: LoopKernel, p: Printer, lane: number, state: LaneState): string {
  const position = rowPosition(kernel);
  if (state.axis !== lane) throw new Bug("lanes have moved");
  return `(i32x4.add (i32x4.splat ${p.scalarIndex(position, 0)}) (v128.const i32x4 0 1 2 3))`;
}
