/**
 * Prints products: tiles of 4 rows by 8 columns in eight accumulators. B is packed into panels of 8 columns in the worker's scratch, once
 * for all tiles of a column block that the worker takes; A is read in place by splats where its rows can be walked along k, otherwise a block
 * of it is packed as well. The loop over k is not unrolled: V8 would spill accumulators. Sums run over ascending k in one accumulator each.
 * Where k is so long that what is packed would not stay small, both are packed a piece of the first sum at a time.
 */
import { needed, type ProductKernel, type Sum, sumsOf, usesOfStore } from "../kernels/kernel.ts";
import { LONG, stretched } from "../kernels/stretches.ts";
import type { Printed } from "../lanes/loop.ts";
import { type Blocks, blocksOf, ceil, depthOf, strideInPlace } from "../lanes/product.ts";
import type { LaneState } from "./indices.ts";
import { offsetText } from "./lanes.ts";
import { packColumns, packRows } from "./pack.ts";
import { add, type Code, divU, get, i32, mul, remU, splatF } from "./text.ts";
import { Printer } from "./values.ts";

/** Rows and columns of a block are multiples of 4 and 8. */
interface ProductSchedule extends Blocks {
  /** Fused multiply-adds, if the engine has them. */
  readonly relaxed: boolean;
}

/** A panel of this depth takes 16 KiB, half of the smallest first cache there is. */
const DEPTH = 512;
/** Bytes of a packed block, of B and of A: a worker's scratch is bounded by them. */
const MOST = 2 ** 20;
const MOST_A = 2 ** 22;

export function productSchedule(kernel: ProductKernel, relaxed: boolean): ProductSchedule {
  const [batch, m, n, k] = kernel.axes;
  let rows = Math.min(ceil(m, 4), 64);
  const all = depthOf(kernel);
  const there = sumsOf(kernel).every((sum) => strideInPlace(kernel, sum) !== undefined);
  // each block of rows packs B again: only where a panel alone is too long
  const pieces = k > DEPTH + DEPTH / 4 && (8 * all * 4 > MOST || (!there && rows * all * 4 > MOST_A));
  // A packed block of B stays within a megabyte; with few units, blocks become smaller, so that workers have even shares.
  let columns = Math.min(ceil(n, 8), 64);
  while (!pieces && columns > 8 && columns * all * 4 > MOST) columns = ceil(columns / 2, 8);
  const units = () => batch * Math.ceil(m / rows) * Math.ceil(n / columns);
  while (units() < 8 && rows > 16) rows = ceil(rows / 2, 4);
  while (units() < 8 && columns > 16) columns = ceil(columns / 2, 8);
  const even = Math.ceil(k / Math.ceil(k / DEPTH));
  const depth = k <= DEPTH + DEPTH / 4 ? k : pieces ? ceil(even, LONG) : even;
  return { rows, columns, depth, pieces, relaxed };
}

/** Sets the locals that say which block a unit is: its batch, and its columns and rows from and to. Gives the group: blocks with the same columns. */
export function enterBlock(
  { axes: [, m, n] }: ProductKernel,
  code: Code,
  unit: string,
  {
    rows,
    columns,
    rowBlocks,
    columnBlocks,
  }: Pick<Blocks, "rows" | "columns"> & { readonly rowBlocks: number; readonly columnBlocks: number },
  { b, n0, n1, m0, m1 }: Readonly<Record<"b" | "n0" | "n1" | "m0" | "m1", string>>,
): string {
  code.set(m0, mul(remU(get(unit), rowBlocks), rows));
  const group = get(code.let("i32", "group", divU(get(unit), rowBlocks)));
  code.set(b, divU(group, columnBlocks));
  code.set(n0, mul(remU(group, columnBlocks), columns));
  code.set(n1, least(add(get(n0), i32(columns)), n));
  code.set(m1, least(add(get(m0), i32(rows)), m));
  return group;
}

export function printProduct(
  given: ProductKernel,
  schedule: ProductSchedule,
  code: Code,
  pointers: readonly string[],
  [from, to]: readonly [string, string],
  scratch: string,
): Printed {
  const { kernel, ...unpacked } = stretched(given, schedule.columns);
  const p = new Printer(kernel, code, pointers);
  const k = kernel.axes[3];
  const { rows, columns, depth, pieces, relaxed } = schedule;
  const { rowBlocks, columnBlocks, units, sums, all } = blocksOf(kernel, schedule);
  const strides = sums.map((sum) => strideInPlace(kernel, sum));
  const inPlace = strides.every((stride) => stride !== undefined);
  const packedA = inPlace ? 0 : rows * all * 4;
  const packedB = columns * all * 4;
  const tile = packedA + packedB;
  /** Sums of a block that are not finished, one tile after the other. */
  const partial = depth < k ? rows * columns * 4 : 0;

  const i = (hint: string, value = i32(0)) => code.let("i32", hint, value);
  const unit = i("u", get(from));
  const held = i("held", i32(-1));
  const [b, kk] = [i("b"), i("k")];
  p.setAxis(0, b);
  const [n0, n1, m0, m1] = [i("n0"), i("n1"), i("m0"), i("m1")];
  const panel = i("panel");
  const B = packedA ? i("B", add(get(scratch), i32(packedA))) : scratch;

  code.loop(unit, get(to), 1, () => {
    p.startCounts();
    p.scope(() => {
      const group = enterBlock(kernel, code, unit, { ...schedule, rowBlocks, columnBlocks }, { b, n0, n1, m0, m1 });
      if (!pieces) {
        code.if(`(i32.ne ${group} ${get(held)})`, () => {
          code.set(held, group);
          packColumns(kernel, p, code, { n0, n1, k: kk, B, sums, ...unpacked });
        });
        if (!inPlace) packRows(kernel, p, code, { m0, m1, k: kk, scratch, sums, all });
      }
      const column = i("n");
      const block = (k0: string, k1: string, unfinished: string | undefined) => {
        if (pieces) {
          packColumns(kernel, p, code, { n0, n1, k: kk, B, sums, piece: { k0, k1, all }, ...unpacked });
          if (!inPlace) packRows(kernel, p, code, { m0, m1, k: kk, scratch, sums, all, piece: { k0, k1 } });
        }
        code.set(panel, get(B));
        code.set(column, get(n0));
        if (unfinished) code.set(unfinished, add(get(scratch), i32(tile + 128)));
        code.loop(column, get(n1), 8, () => {
          const at = { column, panel, m0, m1, kk, k0, k1, pieces, unfinished, scratch, tile };
          tiles(kernel, p, code, { ...at, sums, all, strides: inPlace ? strides : undefined, relaxed });
          code.set(panel, add(get(panel), i32(32 * all)));
        });
      };
      if (depth === k) block(i32(0), i32(k), undefined);
      else {
        const [k0, k1, unfinished] = [i("k0"), i("k1"), i("sums")];
        code.loop(k0, i32(k), depth, () => {
          code.set(k1, least(add(get(k0), i32(depth)), k));
          block(get(k0), get(k1), unfinished);
        });
      }
    });
    p.storeCounts(unit);
  });
  return { units, scratch: tile + 128 + partial };
}

const least = (e: string, limit: number): string => `(select ${e} ${i32(limit)} (i32.lt_s ${e} ${i32(limit)}))`;

interface TileState {
  readonly column: string;
  /** i32 local: where the panel begins. */
  readonly panel: string;
  readonly m0: string;
  readonly m1: string;
  readonly kk: string;
  /** The part of the first sum at hand, from k0 on and before k1 (expressions); behind its last part come the other sums. */
  readonly k0: string;
  readonly k1: string;
  /** i32 local: where the next tile's unfinished sums are; absent where the first sum is done at once. */
  readonly unfinished: string | undefined;
  /** Of the first sum only the part at hand is packed. */
  readonly pieces: boolean;
  readonly sums: readonly Sum[];
  /** The length of all sums together. */
  readonly all: number;
  readonly scratch: string;
  /** Offset in scratch of room for one tile. */
  readonly tile: number;
  /** A's stride along each sum, in elements, where it is read in place. */
  readonly strides: readonly (number | undefined)[] | undefined;
  readonly relaxed: boolean;
}

/** Epilogues up to this many values are printed for each accumulator; others in a loop over the rows of a tile. */
export const SMALL_EPILOGUE = 4;

/** All tiles of the rows m0..m1 in one panel. */
function tiles(kernel: ProductKernel, p: Printer, code: Code, t: TileState): void {
  const n = kernel.axes[2];
  const row = code.let("i32", "m", get(t.m0));
  const packed = code.local("i32", "pa");
  const group = code.let("i32", "ga", get(t.scratch));
  const at = [0, 1, 2, 3].map((r) => code.local("i32", `r${r}`));
  const acc = Array.from({ length: 8 }, () => code.local("v128", "c"));
  const pb = code.local("i32", "pb");
  const end = code.local("i32", "end");
  /** For each of the four rows of a sum with a gate: all bits where it is open. */
  const gates = t.sums.some((sum) => sum.gate !== undefined) ? [0, 1, 2, 3].map((r) => code.local("v128", `g${r}`)) : [];
  const bytes = code.let("i32", "nb", mul(get(t.column), 4));
  code.loop(row, get(t.m1), 4, () => {
    p.scope(() => {
      const zero = () => {
        for (const c of acc) code.set(c, splatF(0));
      };
      const { unfinished } = t;
      if (unfinished)
        code.if(`(i32.eqz ${t.k0})`, zero, () => {
          acc.forEach((c, i) => {
            code.set(c, `(v128.load ${offsetText(16 * i)} ${get(unfinished)})`);
          });
        });
      else zero();
      const madd = (c: string, a: string, b: string) =>
        t.relaxed ? `(f32x4.relaxed_madd ${a} ${b} ${get(c)})` : `(f32x4.add ${get(c)} (f32x4.mul ${a} ${b}))`;
      const [b0, b1, a] = [code.local("v128", "b"), code.local("v128", "b"), code.local("v128", "a")];
      const along = (sum: Sum, k0: string, k1: string) => {
        const stride = t.strides?.[sum.axis - 3];
        const first = t.pieces && sum.axis === 3 ? i32(0) : k0;
        code.set(pb, add(get(t.panel), add(mul(first, 32), i32(32 * sum.from))));
        code.set(end, add(get(pb), mul(subtracted(k1, k0), 32)));
        if (stride === undefined) code.set(packed, add(get(group), add(mul(first, 16), i32(16 * sum.from))));
        else rowPointers(kernel, p, code, t, { sum, k0, row, at });
        if (sum.gate !== undefined) gatesOf(kernel, p, code, { gate: sum.gate, row, gates });
        const added = (i: number, b: string) => {
          const more = madd(acc[i], get(a), b);
          code.set(acc[i], sum.gate === undefined ? more : `(v128.bitselect ${more} ${get(acc[i])} ${get(gates[i >> 1])})`);
        };
        const all = () =>
          code.loop(pb, get(end), 32, () => {
            code.set(b0, `(v128.load ${get(pb)})`);
            code.set(b1, `(v128.load offset=16 ${get(pb)})`);
            for (let r = 0; r < 4; r++) {
              const place = stride === undefined ? `${offsetText(4 * r)} ${get(packed)}` : get(at[r]);
              code.set(a, `(v128.load32_splat ${place})`);
              added(2 * r, get(b0));
              added(2 * r + 1, get(b1));
            }
            if (stride === undefined) code.set(packed, add(get(packed), i32(16)));
            else for (let r = 0; r < 4; r++) code.set(at[r], add(get(at[r]), i32(4 * stride)));
          });
        if (sum.gate === undefined) all();
        else code.if(`(v128.any_true ${gates.map(get).reduce((x, y) => `(v128.or ${x} ${y})`)})`, all);
      };
      along(t.sums[0], t.k0, t.k1);
      const rest = n % 8;
      const width = (columns: number) => epilogue(kernel, p, code, t, { row, bytes, acc, width: columns });
      const finish = () => {
        for (const sum of t.sums.slice(1)) along(sum, i32(0), i32(sum.size));
        if (rest === 0) width(8);
        else if (n < 8) width(rest);
        else
          code.if(
            `(i32.le_s ${get(t.column)} ${i32(n - 8)})`,
            () => width(8),
            () => width(rest),
          );
      };
      if (!unfinished) finish();
      else {
        code.if(`(i32.eq ${t.k1} ${i32(t.sums[0].size)})`, finish, () => {
          acc.forEach((c, i) => {
            code.line(`(v128.store ${offsetText(16 * i)} ${get(unfinished)} ${get(c)})`);
          });
        });
        code.set(unfinished, add(get(unfinished), i32(128)));
      }
      code.set(group, add(get(group), i32(16 * t.all)));
    });
  });
}

const subtracted = (a: string, b: string): string => (b === i32(0) ? a : `(i32.sub ${a} ${b})`);

/** Where the four rows of A begin, at `k0` of a sum; rows beyond the last repeat it. */
function rowPointers(
  kernel: ProductKernel,
  p: Printer,
  code: Code,
  t: TileState,
  { sum, k0, row, at }: { readonly sum: Sum; readonly k0: string; readonly row: string; readonly at: readonly string[] },
): void {
  const lhs = kernel.values[sum.lhs];
  if (lhs.kind !== "load") return;
  const m = kernel.axes[1];
  code.set(t.kk, k0);
  const r = code.local("i32", "r");
  at.forEach((local, i) => {
    const element = add(get(row), i32(i));
    code.set(r, i > 0 && m % 4 ? least(element, m - 1) : element);
    p.scope(() => {
      p.setAxis(1, r);
      p.setAxis(sum.axis, t.kk);
      code.set(local, add(get(p.pointers[lhs.operand]), mul(p.scalarIndex(lhs.index, 0), 4)));
    });
  });
}

/** Where the gate of a sum is open, for four rows; rows beyond the last repeat it. */
function gatesOf(
  kernel: ProductKernel,
  p: Printer,
  code: Code,
  { gate, row, gates }: { readonly gate: number; readonly row: string; readonly gates: readonly string[] },
): void {
  const m = kernel.axes[1];
  const r = code.local("i32", "r");
  gates.forEach((local, i) => {
    const element = add(get(row), i32(i));
    code.set(r, i > 0 && m % 4 ? least(element, m - 1) : element);
    p.scope(() => {
      p.setAxis(1, r);
      p.need([gate]);
      code.set(local, p.of(gate));
    });
  });
}

function epilogue(
  kernel: ProductKernel,
  p: Printer,
  code: Code,
  t: TileState,
  { row, bytes, acc, width }: { row: string; bytes: string; acc: readonly string[]; width: number },
): void {
  const m = kernel.axes[1];
  const roots = kernel.stores.flatMap(usesOfStore);
  const accumulator = kernel.values.findIndex((v) => v.kind === "acc");
  const size = needed(kernel.values, roots).length;
  const r = code.local("i32", "r");
  const halves = width > 4 ? [0, 1] : [0];
  const state = (h: number): LaneState => ({ axis: 2, bytes, offset: 16 * h, valid: Math.min(4, width - 4 * h) });
  const finish = (h: number) => {
    p.withLanes(state(h), () => {
      p.need(roots);
      for (const s of kernel.stores) p.store(s);
    });
  };
  if (size <= SMALL_EPILOGUE) {
    for (let i = 0; i < 4; i++) {
      const one = () => {
        p.scope(() => {
          code.set(r, add(get(row), i32(i)));
          p.setAxis(1, r);
          for (const h of halves) {
            p.supply = (v) => (v === accumulator ? get(acc[2 * i + h]) : undefined);
            finish(h);
          }
        });
      };
      if (i > 0 && m % 4) code.if(`(i32.lt_s ${get(row)} ${i32(m - i)})`, one);
      else one();
    }
  } else {
    const spill = code.let("i32", "tile", add(get(t.scratch), i32(t.tile)));
    acc.forEach((c, i) => {
      code.line(`(v128.store ${offsetText(16 * i)} ${get(spill)} ${get(c)})`);
    });
    code.set(r, get(row));
    const last =
      m % 4 ? get(code.let("i32", "last", least(add(get(row), i32(4)), m))) : get(code.let("i32", "last", add(get(row), i32(4))));
    code.loop(r, last, 1, () => {
      p.scope(() => {
        p.setAxis(1, r);
        for (const h of halves) {
          p.supply = (v) => (v === accumulator ? `(v128.load ${offsetText(16 * h)} ${get(spill)})` : undefined);
          finish(h);
        }
      });
      code.set(spill, add(get(spill), i32(32)));
    });
  }
  p.supply = () => undefined;
}
