/**
 * Prints products: tiles of rows by vectors in accumulators. B is packed into panels of a tile's columns in the worker's scratch, once for all tiles of a column block that
 * the worker takes; A is read in place by splats where its rows can be walked along the sum, otherwise a block of it is packed as well. Sums run over ascending k in one
 * accumulator each; where k is long, a part at a time, what is not finished lies in scratch meanwhile.
 */
import { type ProductKernel, type Sum, usesOfStore } from "../kernels/kernel.ts";
import { stretched } from "../kernels/stretches.ts";
import type { Printed } from "../lanes/loop.ts";
import { blocksOf, ceil, strideInPlace } from "../lanes/product.ts";
import { packColumns, packRows } from "./pack.ts";
import type { ProductSchedule } from "./schedule.ts";
import { add, type Code, divide, mul, rest } from "./text.ts";
import { type LaneState, Printer } from "./values.ts";

export function printProduct(given: ProductKernel, schedule: ProductSchedule, code: Code): Printed {
  const { kernel, along } = stretched(given, 1);
  const p = new Printer(kernel, code, schedule.width);
  const [, m, n, k] = kernel.axes;
  const { rows, columns, depth, pieces, tileRows, tileVectors, width } = schedule;
  const panel = tileVectors * width;
  const { rowBlocks, columnBlocks, units, sums, all } = blocksOf(kernel, schedule);
  const there = sums.map((sum) => strideInPlace(kernel, sum) !== undefined);
  const packed = sums.filter((_, i) => !there[i]);
  /** Elements. */
  const packedA = packed.length > 0 ? rows * all : 0;
  const packedB = columns * all;
  const spill = tileRows * panel;
  const partial = depth < k ? rows * columns : 0;

  const room = (name: string, at: number) => code.line(`f32a *restrict ${name} = (f32a *)scratch + ${ceil(at, 16)};`);
  // vectors that begin in a block may end beyond it
  const offsets = [0, packedA + 16, packedA + packedB + 32, packedA + packedB + spill + 48].map((x) => ceil(x, 16));
  room("A", offsets[0]);
  room("B", offsets[1]);
  room(partial ? "P" : "T", partial ? offsets[3] : offsets[2]);
  const held = code.variable("ix", "held", "-1");
  p.loop("u", "from", "to", 1, (u) => {
    const m0 = code.let("ix", "m0", mul(rest(u, rowBlocks), rows));
    const group = code.let("ix", "group", divide(u, rowBlocks));
    p.setAxis(0, code.let("ix", "b", divide(group, columnBlocks)));
    const n0 = code.let("ix", "n0", mul(rest(group, columnBlocks), columns));
    const n1 = code.let("ix", "n1", `least(${n0} + ${columns}, ${n})`);
    const m1 = code.let("ix", "m1", `least(${m0} + ${rows}, ${m})`);
    const block = { n0, n1, m0, m1, panel, rows, all };
    if (!pieces) {
      p.block(`if (${group} != ${held})`, () => {
        code.set(held, group);
        packColumns(kernel, p, { ...block, sums, part: undefined, along });
      });
      for (const sum of packed) packRows(kernel, p, { ...block, sum, part: undefined });
    }
    const body = (part: { k0: string; k1: string } | undefined) => {
      if (pieces && part) {
        packColumns(kernel, p, { ...block, sums, part, along });
        for (const sum of packed) packRows(kernel, p, { ...block, sum, part: sum.axis === 3 ? part : undefined });
      }
      const unfinished = part && code.variable("f32a *", "unfinished", "P");
      p.loop("n", n0, n1, panel, (column) => {
        const at = code.let("const f32a *", "panel", `B + (${column} - ${n0}) * ${all}`);
        p.loop("m", m0, m1, tileRows, (row) => {
          tile(kernel, p, { ...block, schedule, sums, there, column, row, at, part, unfinished, pieces });
        });
      });
    };
    if (depth === k) body(undefined);
    else
      p.loop("k0", "0", String(k), depth, (k0) => {
        body({ k0, k1: code.let("ix", "k1", `least(${k0} + ${depth}, ${k})`) });
      });
  });
  return { units, scratch: 4 * (offsets[3] + partial + 64) };
}

interface TileState {
  readonly schedule: ProductSchedule;
  readonly sums: readonly Sum[];
  /** Of each sum: whether A is read in place. */
  readonly there: readonly boolean[];
  readonly column: string;
  readonly row: string;
  readonly m0: string;
  readonly m1: string;
  /** Where the panel begins. */
  readonly at: string;
  readonly panel: number;
  readonly rows: number;
  readonly all: number;
  /** The part of the first sum at hand; behind its last part come the other sums. */
  readonly part: { readonly k0: string; readonly k1: string } | undefined;
  /** A variable: where the tile's unfinished sums are. */
  readonly unfinished: string | undefined;
  readonly pieces: boolean;
}

function tile(kernel: ProductKernel, p: Printer, t: TileState): void {
  const { code } = p;
  const sums = code.let("f32a *", "t", t.unfinished ?? "T");
  const { tileRows } = t.schedule;
  along(kernel, p, t, t.sums[0], sums, t.part === undefined ? "0" : `${t.part.k0} > 0`);
  const finish = () => {
    for (const sum of t.sums.slice(1)) along(kernel, p, t, sum, sums, "1");
    epilogue(kernel, p, t, sums);
  };
  if (t.unfinished === undefined) finish();
  else {
    p.block(`if (${t.part!.k1} == ${t.sums[0].size})`, finish);
    code.set(t.unfinished, `${t.unfinished} + ${tileRows * t.panel}`);
  }
}

/** Adds the products of a sum, or of its part at hand, to a tile's sums; where `more` does not hold these are 0 before. */
function along(kernel: ProductKernel, p: Printer, t: TileState, sum: Sum, sums: string, more: string): void {
  const { code } = p;
  const { tileRows, tileVectors, width } = t.schedule;
  const m = kernel.axes[1];
  const first = sum.axis === 3 ? t.part : undefined;
  const [k0, k1] = first ? [first.k0, first.k1] : ["0", String(sum.size)];
  /** Where the part begins in what is packed. */
  const start = add(t.pieces && first ? "0" : k0, String(sum.from));
  const there = t.there[t.sums.indexOf(sum)];
  const lhs = kernel.values[sum.lhs];
  const pointer = code.name("a");
  code.line(`const f32a *${pointer}[${tileRows}];`);
  const row = code.name("r");
  p.block(`for (ix ${row} = 0; ${row} < ${tileRows}; ${row}++)`, () => {
    if (there && lhs.kind === "load") {
      // rows beyond the last repeat it
      p.setAxis(1, code.let("ix", "m", m % tileRows ? `least(${t.row} + ${row}, ${m - 1})` : `${t.row} + ${row}`));
      p.setAxis(sum.axis, k0);
      code.set(`${pointer}[${row}]`, `${p.pointer(lhs.operand)} + (${p.scalarIndex(lhs.index)})`);
    } else code.set(`${pointer}[${row}]`, `A + (${start}) * ${t.rows} + (${t.row} - ${t.m0}) + ${row}`);
  });
  const b = `${t.at} + (${start}) * ${t.panel}`;
  const [step, count] = [there ? "1" : String(t.rows), k0 === "0" ? k1 : `${k1} - ${k0}`];
  if (sum.gate === undefined) {
    code.line(`tile_${width}_${tileRows}_${tileVectors}(${b}, ${pointer}, ${step}, ${count}, ${sums}, ${more});`);
    return;
  }
  const { gate } = sum;
  const gated = code.name("r");
  p.block(`for (ix ${gated} = 0; ${gated} < ${tileRows}; ${gated}++)`, () => {
    p.setAxis(1, code.let("ix", "m", m % tileRows ? `least(${t.row} + ${gated}, ${m - 1})` : `${t.row} + ${gated}`));
    p.need([gate!]);
    code.line(
      `if (${p.of(gate!)}[0]) tile_${width}_1_${tileVectors}(${b}, ${pointer} + ${gated}, ${step}, ${count}, ${sums} + ${gated} * ${t.panel}, 1);`,
    );
  });
}

/** What is stored of a tile's sums, row by row. */
function epilogue(kernel: ProductKernel, p: Printer, t: TileState, sums: string): void {
  const { code } = p;
  const { tileRows, width } = t.schedule;
  const [, m, n] = kernel.axes;
  const roots = kernel.stores.flatMap(usesOfStore);
  const accumulator = kernel.values.findIndex((v) => v.kind === "acc");
  const row = code.name("r");
  const last = m % tileRows ? `least(${tileRows}, ${m} - ${t.row})` : String(tileRows);
  p.block(`for (ix ${row} = 0; ${row} < ${last}; ${row}++)`, () => {
    p.setAxis(1, code.let("ix", "m", `${t.row} + ${row}`));
    const columns = (count: number) => {
      for (let h = 0; h * width < count; h++) {
        const state: LaneState = { axis: 2, at: t.column, offset: h * width, valid: Math.min(width, count - h * width) };
        p.supply = (v) => (v === accumulator ? `*(const uf${width} *)(${sums} + ${row} * ${t.panel} + ${h * width})` : undefined);
        p.withLanes(state, () => {
          p.need(roots);
          for (const s of kernel.stores) p.store(s);
        });
      }
      p.supply = () => undefined;
    };
    const edge = n % t.panel;
    if (edge === 0) columns(t.panel);
    else if (n < t.panel) columns(edge);
    else {
      p.block(`if (${t.column} + ${t.panel} <= ${n})`, () => columns(t.panel));
      p.block("else", () => columns(edge));
    }
  });
}
