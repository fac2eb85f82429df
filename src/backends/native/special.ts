/** Prints scatters, scans and selections. */
import { strideOf } from "../kernels/index.ts";
import { type ScanKernel, type ScatterKernel, type SelectKernel, usesOfStore } from "../kernels/kernel.ts";
import { type Printed, widthFor } from "../lanes/loop.ts";
import { letterOf, literal, vectorType } from "./spelling.ts";
import { type Code, divide, mul, rest } from "./text.ts";
import { type LaneState, Printer, storeLanes } from "./values.ts";

type Widthy = Printed & { readonly width: number };

/** Columns that one unit of a scatter owns. */
const SCATTER_COLUMNS = 64;

export function printScatter(kernel: ScatterKernel, code: Code, most: number): Widthy {
  const [updates, columns] = kernel.axes;
  const width = widthFor(columns, most);
  const p = new Printer(kernel, code, width);
  const chunk = Math.min(SCATTER_COLUMNS, Math.ceil(columns / width) * width);
  const chunks = Math.ceil(columns / chunk);
  const out = kernel.operands[kernel.out].name;
  const letter = letterOf(kernel.values[kernel.value].dtype);
  const tail = columns % width;
  const whole = columns - tail;
  p.loop("u", "from", "to", 1, (u) => {
    const first = code.let("ix", "first", mul(u, chunk));
    const stop = code.let("ix", "stop", `least(${first} + ${chunk}, ${columns})`);
    p.loop("i", "0", String(kernel.rows), 1, (i) => {
      code.line(`__builtin_memset(${out} + ${mul(i, columns)} + ${first}, 0, 4 * (${stop} - ${first}));`);
    });
    p.loop("i", "0", String(updates), 1, (i) => {
      p.setAxis(0, i);
      p.need([kernel.index]);
      const row = code.let(`${letter}32a *`, "row", `${out} + (ix)${p.of(kernel.index)}[0] * ${columns}`);
      const body = (at: string, valid: number) =>
        p.withLanes({ axis: 1, at, offset: 0, valid }, () => {
          p.need([kernel.value]);
          const sum = code.let(`v${letter}${width}`, "s", `*(const u${letter}${width} *)(${row} + ${at}) + ${p.of(kernel.value)}`);
          storeLanes(code, `${row} + ${at}`, sum, p);
        });
      if (whole) p.loop("x", first, `least(${stop}, ${whole})`, width, (x) => body(x, width));
      if (tail) p.block(`if (${stop} > ${whole})`, () => body(code.let("ix", "x", String(whole)), tail));
    });
  });
  return { units: chunks, scratch: 0, width };
}

export function printScan(kernel: ScanKernel, code: Code, most: number): Widthy {
  const axis = kernel.axes.length - 1;
  const roots = kernel.stores.flatMap(usesOfStore);
  const lane = kernel.axes.findLastIndex((size, a) => a < axis && size >= 4 && kernel.stores.every((s) => strideOf(s.index, a) === 1));
  const width = lane < 0 ? 4 : widthFor(kernel.axes[lane], most);
  const p = new Printer(kernel, code, width);
  const outer = kernel.axes.map((_, a) => a).filter((a) => a !== axis && a !== lane);
  const vectors = lane < 0 ? 1 : Math.ceil(kernel.axes[lane] / width);
  const place = kernel.values.findIndex((v) => v.kind === "acc");
  const run = (lanes: LaneState | undefined) => {
    const acc = code.variable(vectorType(kernel.dtype, width), "acc", literal(0, kernel.dtype, width));
    p.supply = (v) => (v === place ? acc : undefined);
    const body = () => {
      p.need([kernel.value]);
      code.set(acc, `${acc} + ${p.of(kernel.value)}`);
      p.need(roots);
      for (const s of kernel.stores) p.store(s);
    };
    p.loop(`a${axis}`, "0", String(kernel.axes[axis]), 1, (position) => {
      p.setAxis(axis, position);
      if (lanes) p.withLanes(lanes, body);
      else body();
    });
  };
  p.loop("u", "from", "to", 1, (u) => {
    let left = u;
    let at = "";
    if (lane >= 0) {
      at = code.let("ix", "x", mul(rest(left, vectors), width));
      left = code.let("ix", "rest", divide(left, vectors));
    }
    for (let i = outer.length - 1; i >= 0; i--) {
      p.setAxis(outer[i], code.let("ix", `a${outer[i]}`, i === 0 ? left : rest(left, kernel.axes[outer[i]])));
      if (i > 0) left = code.let("ix", "rest", divide(left, kernel.axes[outer[i]]));
    }
    if (lane < 0) return run(undefined);
    const tail = kernel.axes[lane] % width;
    const lanes = (valid: number): LaneState => ({ axis: lane, at, offset: 0, valid });
    if (tail === 0) run(lanes(width));
    else {
      p.block(`if (${at} + ${width} <= ${kernel.axes[lane]})`, () => run(lanes(width)));
      p.block("else", () => run(lanes(tail)));
    }
  });
  return { units: vectors * outer.reduce((n, a) => n * kernel.axes[a], 1), scratch: 0, width };
}

/**
 * The k-th smallest by its bits, highest first: floats become unsigned keys of the same order; the answer is the greatest key of which
 * fewer than k elements are smaller.
 */
export function printSelect(kernel: SelectKernel, code: Code, most: number): Widthy {
  const n = kernel.axes[0];
  const width = widthFor(n, most);
  const p = new Printer(kernel, code, width);
  const { dtype } = kernel.values[kernel.value];
  const f = dtype === "f32";
  const tail = n % width;
  const whole = n - tail;
  p.block("if (from < to)", () => {
    p.need([kernel.k]);
    const k = code.variable("ix", "k", `least(${p.of(kernel.k)}[0], ${n})`);
    code.line(`if (${k} < 1) ${k} = 1;`);
    const prefix = code.variable("u32", "prefix", "0");
    p.loop("bit", "0", "32", 1, (bit) => {
      const candidate = code.let("u32", "cand", `${prefix} | (0x80000000u >> ${bit})`);
      const counts = code.variable(`vi${width}`, "counts", literal(0, "i32", width));
      const body = (at: string, valid: number) =>
        p.withLanes({ axis: 0, at, offset: 0, valid }, () => {
          p.need([kernel.value]);
          const v = code.let(`vi${width}`, "bits", `(vi${width})${p.of(kernel.value)}`);
          // negative floats: all bits turned; others: the sign bit
          const key = `(vu${width})(${v} ^ ${f ? `((${v} >> 31) | (-2147483647 - 1))` : "(-2147483647 - 1)"})`;
          const less = `(vi${width})(${key} < ${candidate})`;
          code.set(counts, `${counts} - ${valid === width ? less : `(${less} & ${p.inside()})`}`);
        });
      if (whole) p.loop("x", "0", String(whole), width, (x) => body(x, width));
      if (tail) p.block("", () => body(code.let("ix", "x", String(whole)), tail));
      code.line(`if (sum_i${width}(${counts}) < ${k}) ${prefix} = ${candidate};`);
    });
    const signed = `(i32)(${prefix} ^ 0x80000000u)`;
    const bits = code.let("i32", "bits", f ? `(i32)${prefix} < 0 ? ${signed} : (i32)~${prefix}` : signed);
    code.line(`__builtin_memcpy(${kernel.operands[kernel.out].name}, &${bits}, 4);`);
  });
  return { units: 1, scratch: 0, width };
}
