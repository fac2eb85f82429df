/** Kernels whose owner walks its elements in order: scatter, running sums, the k-th smallest. No atomics, so the order of every sum is fixed. */
import type { ScanKernel, ScatterKernel, SelectKernel } from "../kernels/kernel.ts";
import { usesOfStore } from "../kernels/kernel.ts";
import type { SelectSchedule } from "./schedule.ts";
import { valueType, zeroOf } from "./spelling.ts";
import type { Template } from "./template.ts";
import { names } from "./text.ts";

const THREADS = 64;

/** How the text reads and writes the scatter's table. */
interface Table {
  read(index: string): string;
  write(index: string, value: string): string;
  readonly zero: string;
}
/** Rows `from..to`, end exclusive. */
interface Rows {
  readonly from: number;
  readonly to: number;
}

/** Writes zeros over the rows; `printScatter` adds to them in the next dispatch. */
export function printClear(kernel: ScatterKernel, rows: Rows, t: Template, table: Table): void {
  const columns = kernel.axes[1];
  const count = (rows.to - rows.from) * columns;
  t.workgroup(THREADS, Math.ceil(count / THREADS));
  t.element("at", count);
  t.out.add(table.write(rows.from === 0 ? "at" : `at + ${rows.from * columns}`, table.zero));
}

/** One invocation a column walks the updates. */
export function printScatter(kernel: ScatterKernel, rows: Rows, t: Template, table: Table): void {
  const [updates, columns] = kernel.axes;
  const { out, writer } = t;
  t.workgroup(THREADS, Math.ceil(columns / THREADS));
  t.element("c", columns);
  const outer = names(new Map([[1, columns === 1 ? "0" : "c"]]));
  writer.hoist([kernel.value], 1, outer, out);
  out.block(`for (var i = 0; i < ${updates}; i++)`, () => {
    const inner = names(new Map([[0, "i"]]), outer);
    writer.values([kernel.index], inner, out);
    out.add(`let row = ${writer.say(kernel.index, inner)};`);
    out.block(`if (row >= ${rows.from} && row < ${rows.to})`, () => {
      const within = names(new Map(), inner);
      writer.values([kernel.value], within, out);
      const place = columns === 1 ? "row" : `row * ${columns} + c`;
      out.add(table.write(place, `${table.read(place)} + ${writer.say(kernel.value, within)}`));
    });
  });
}

export function printScan(kernel: ScanKernel, t: Template): void {
  const last = kernel.axes.length - 1;
  const rows = kernel.axes.slice(0, last).reduce((a, b) => a * b, 1);
  const { out, writer } = t;
  t.workgroup(THREADS, Math.ceil(rows / THREADS));
  t.element("at", rows);
  const axes = new Map<number, string>();
  t.unflatten(
    "at",
    kernel.axes.slice(0, last).map((size, a) => [a, size] as const),
    (a) => `i${a}`,
    axes,
  );
  const outer = names(axes);
  const accs = kernel.values.flatMap((v, i) => (v.kind === "acc" ? [i] : []));
  out.add(`var acc: ${valueType(kernel.dtype)} = ${zeroOf(kernel.dtype)};`);
  out.block(`for (var r = 0; r < ${kernel.axes[last]}; r++)`, () => {
    const inner = names(new Map([[last, "r"]]), outer);
    writer.values([kernel.value], inner, out);
    out.add(`acc += ${writer.say(kernel.value, inner)};`);
    for (const a of accs) inner.values.set(a, "acc");
    writer.values(kernel.stores.flatMap(usesOfStore), inner, out);
    writer.stores(kernel.stores, inner, out);
  });
}

/**
 * The k-th smallest, bit by bit from the top: numbers are mapped to unsigned integers of the same order, and a bit stays set if fewer than k numbers
 * lie below what has been found with it.
 */
export function printSelect(
  kernel: SelectKernel,
  schedule: SelectSchedule,
  t: Template,
  write: (index: string, value: string) => string,
): void {
  const n = kernel.axes[0];
  const { team } = schedule;
  const { out, writer } = t;
  const dtype = kernel.values[kernel.value].dtype;
  t.workgroup(team, 1);
  const outer = names(new Map());
  writer.values([kernel.k], outer, out, true);
  out.add(`let wanted = clamp(${writer.say(kernel.k, outer)}, 1, ${n});`);
  out.add("var found = 0u;");
  out.block("for (var bit = 31; bit >= 0; bit--)", () => {
    out.add("let trial = found | (1u << u32(bit));");
    out.add("var below = 0;");
    out.block(`for (var i = i32(lane); i < ${n}; i += ${team})`, () => {
      const inner = names(new Map([[0, "i"]]), outer);
      writer.values([kernel.value], inner, out);
      out.add(`let bits = bitcast<u32>(${writer.say(kernel.value, inner)});`);
      out.add(dtype === "f32" ? "let key = select(bits ^ 0x80000000u, ~bits, bits >= 0x80000000u);" : "let key = bits ^ 0x80000000u;");
      out.add("below += select(0, 1, key < trial);");
    });
    if (team > 1) {
      const shared = t.shared("i32", team, "");
      out.add(`${shared}[lane] = below;`);
      out.add("workgroupBarrier();");
      out.block(`for (var half = ${team / 2}; half > 0; half /= 2)`, () => {
        out.add(`if (i32(lane) < half) { ${shared}[lane] += ${shared}[lane + u32(half)]; }`);
        out.add("workgroupBarrier();");
      });
      out.add(`below = ${shared}[0];`);
      out.add("workgroupBarrier();");
    }
    out.add("if (below < wanted) { found = trial; }");
  });
  const back = dtype === "f32" ? "select(~found, found ^ 0x80000000u, found >= 0x80000000u)" : "found ^ 0x80000000u";
  const store = write("0", `bitcast<${valueType(dtype)}>(${back})`);
  out.add(team > 1 ? `if (lane == 0) { ${store} }` : store);
}
