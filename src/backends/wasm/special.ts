/** Prints scatters, scans and selections. */
import { strideOf } from "../kernels/index.ts";
import { type ScanKernel, type ScatterKernel, type SelectKernel, usesOfStore } from "../kernels/kernel.ts";
import type { Printed } from "../lanes/loop.ts";
import type { LaneState } from "./indices.ts";
import { storeLanes } from "./lanes.ts";
import { add, type Code, divU, firstLanes, get, i32, mul, remU, splatI } from "./text.ts";
import { Printer } from "./values.ts";

type Range = readonly [string, string];

/** Columns that one unit of a scatter owns. */
const SCATTER_COLUMNS = 64;

export function printScatter(kernel: ScatterKernel, code: Code, pointers: readonly string[], [from, to]: Range): Printed {
  const p = new Printer(kernel, code, pointers);
  const [updates, columns] = kernel.axes;
  const chunk = Math.min(SCATTER_COLUMNS, Math.ceil(columns / 4) * 4);
  const chunks = Math.ceil(columns / chunk);
  const out = get(pointers[kernel.out]);
  const f = kernel.values[kernel.value].dtype === "f32";
  const unit = code.let("i32", "u", get(from));
  const bytes = code.local("i32", "x");
  const i = code.local("i32", "i");
  const whole = 4 * (columns - (columns % 4));
  code.loop(unit, get(to), 1, () => {
    const first = get(code.let("i32", "first", mul(get(unit), 4 * chunk)));
    const last = get(code.let("i32", "last", add(first, i32(4 * chunk))));
    const end = get(code.let("i32", "end", `(select ${last} ${i32(whole)} (i32.lt_u ${last} ${i32(whole)}))`));
    const stop = get(code.let("i32", "stop", `(select ${last} ${i32(4 * columns)} (i32.lt_u ${last} ${i32(4 * columns)}))`));
    code.set(i, i32(0));
    code.loop(i, i32(kernel.rows), 1, () => {
      code.line(`(memory.fill ${add(add(out, mul(get(i), 4 * columns)), first)} (i32.const 0) (i32.sub ${stop} ${first}))`);
    });
    code.set(i, i32(0));
    code.loop(i, i32(updates), 1, () => {
      p.scope(() => {
        p.setAxis(0, i);
        p.need([kernel.index]);
        const row = get(code.let("i32", "row", add(out, mul(`(i32x4.extract_lane 0 ${p.of(kernel.index)})`, 4 * columns))));
        p.lift([kernel.value], [], 1);
        const body = (valid: number) => {
          p.scope(() => {
            p.withLanes({ axis: 1, bytes, offset: 0, valid }, () => {
              p.need([kernel.value]);
              const at = get(code.let("i32", "at", add(row, get(bytes))));
              storeLanes(code, at, 0, `(${f ? "f32x4" : "i32x4"}.add (v128.load ${at}) ${p.of(kernel.value)})`, valid);
            });
          });
        };
        code.set(bytes, first);
        if (whole) code.loop(bytes, end, 16, () => body(4));
        if (columns % 4)
          code.if(`(i32.gt_u ${stop} ${end})`, () => {
            code.set(bytes, i32(whole));
            body(columns % 4);
          });
      });
    });
  });
  return { units: chunks, scratch: 0 };
}

export function printScan(kernel: ScanKernel, code: Code, pointers: readonly string[], [from, to]: Range): Printed {
  const p = new Printer(kernel, code, pointers);
  const axis = kernel.axes.length - 1;
  const roots = kernel.stores.flatMap(usesOfStore);
  const lane = kernel.axes.findLastIndex((size, a) => a < axis && size >= 4 && kernel.stores.every((s) => strideOf(s.index, a) === 1));
  const outer = kernel.axes.map((_, a) => a).filter((a) => a !== axis && a !== lane);
  const vectors = lane < 0 ? 1 : Math.ceil(kernel.axes[lane] / 4);
  const unit = code.let("i32", "u", get(from));
  const bytes = code.local("i32", "x");
  const position = code.local("i32", `a${axis}`);
  const acc = code.local("v128", "acc");
  const place = kernel.values.findIndex((v) => v.kind === "acc");
  p.supply = (v) => (v === place ? get(acc) : undefined);
  const run = (lanes: LaneState | undefined) => {
    const body = () => {
      p.need([kernel.value]);
      code.set(acc, `(${kernel.dtype === "f32" ? "f32x4" : "i32x4"}.add ${get(acc)} ${p.of(kernel.value)})`);
      p.need(roots);
      for (const s of kernel.stores) p.store(s);
    };
    code.set(acc, splatI(0));
    code.set(position, i32(0));
    code.loop(position, i32(kernel.axes[axis]), 1, () => {
      p.scope(() => {
        p.setAxis(axis, position);
        if (lanes) p.withLanes(lanes, body);
        else body();
      });
    });
  };
  code.loop(unit, get(to), 1, () => {
    p.scope(() => {
      let rest = get(unit);
      if (lane >= 0) {
        code.set(bytes, mul(remU(rest, vectors), 16));
        rest = get(code.let("i32", "rest", divU(rest, vectors)));
      }
      for (let i = outer.length - 1; i >= 0; i--) {
        p.setAxis(outer[i], code.let("i32", `a${outer[i]}`, i === 0 ? rest : remU(rest, kernel.axes[outer[i]])));
        if (i > 0) rest = get(code.let("i32", "rest", divU(rest, kernel.axes[outer[i]])));
      }
      if (lane < 0) return run(undefined);
      const tail = kernel.axes[lane] % 4;
      const lanes = (valid: number): LaneState => ({ axis: lane, bytes, offset: 0, valid });
      if (tail === 0) run(lanes(4));
      else
        code.if(
          `(i32.le_u ${get(bytes)} ${i32(4 * (kernel.axes[lane] - 4))})`,
          () => run(lanes(4)),
          () => run(lanes(tail)),
        );
    });
  });
  return { units: vectors * outer.reduce((n, a) => n * kernel.axes[a], 1), scratch: 0 };
}

/**
 * The k-th smallest by its bits, highest first: floats become unsigned keys of the same order; the answer is the greatest key of which
 * fewer than k elements are smaller.
 */
export function printSelect(kernel: SelectKernel, code: Code, pointers: readonly string[], [from, to]: Range): Printed {
  const p = new Printer(kernel, code, pointers);
  const n = kernel.axes[0];
  const f = kernel.values[kernel.value].dtype === "f32";
  const whole = 4 * (n - (n % 4));
  const bytes = code.local("i32", "x");
  code.if(`(i32.lt_s ${get(from)} ${get(to)})`, () => {
    p.need([kernel.k]);
    const k = code.let("i32", "k", `(i32x4.extract_lane 0 ${p.of(kernel.k)})`);
    code.set(k, `(select ${get(k)} (i32.const 1) (i32.gt_s ${get(k)} (i32.const 1)))`);
    code.set(k, `(select ${get(k)} ${i32(n)} (i32.lt_s ${get(k)} ${i32(n)}))`);
    const prefix = code.let("i32", "prefix", i32(0));
    const bit = code.let("i32", "bit", i32(-0x80000000));
    const iteration = code.let("i32", "iteration", i32(0));
    code.loop(iteration, i32(32), 1, () => {
      const candidate = get(code.let("v128", "cand", `(i32x4.splat (i32.or ${get(prefix)} ${get(bit)}))`));
      const counts = code.let("v128", "counts", splatI(0));
      const body = (valid: number) => {
        p.scope(() => {
          p.withLanes({ axis: 0, bytes, offset: 0, valid }, () => {
            p.need([kernel.value]);
            const v = p.of(kernel.value);
            // Negative floats: all bits turned; others: the sign bit.
            const flip = f ? `(v128.or (i32x4.shr_s ${v} (i32.const 31)) ${splatI(-0x80000000)})` : splatI(-0x80000000);
            const less = `(i32x4.lt_u (v128.xor ${v} ${flip}) ${candidate})`;
            code.set(counts, `(i32x4.sub ${get(counts)} ${valid === 4 ? less : `(v128.and ${less} ${firstLanes(valid)})`})`);
          });
        });
      };
      code.set(bytes, i32(0));
      if (whole) code.loop(bytes, i32(whole), 16, () => body(4));
      if (n % 4) {
        code.set(bytes, i32(whole));
        body(n % 4);
      }
      const lane = (l: number) => `(i32x4.extract_lane ${l} ${get(counts)})`;
      const total = add(add(lane(0), lane(1)), add(lane(2), lane(3)));
      code.if(`(i32.lt_s ${total} ${get(k)})`, () => code.set(prefix, `(i32.or ${get(prefix)} ${get(bit)})`));
      code.set(bit, `(i32.shr_u ${get(bit)} (i32.const 1))`);
    });
    // Back from key to value.
    const signed = `(i32.xor ${get(prefix)} (i32.const -0x80000000))`;
    const float = `(select ${signed} (i32.xor ${get(prefix)} (i32.const -1)) (i32.lt_s ${get(prefix)} (i32.const 0)))`;
    code.line(`(i32.store ${get(pointers[kernel.out])} ${f ? float : signed})`);
  });
  return { units: 1, scratch: 0 };
}
