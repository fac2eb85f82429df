/**
 * Prints products that leave out zeros of their left side. For each row of a block a list of what is not zero is made, four elements looked at
 * at a time; the sum then runs along the list, for 32 columns at once. Packing, order of additions and epilogue are those of the dense product,
 * so that both give the same bits. A list costs some instructions an element and is used for all columns of the block; along it, each iteration reads
 * eight vectors for eight multiply-adds, where the dense tile reads six.
 */

import { strideOf } from "../kernels/index.ts";
import { needed, type ProductKernel, sumsOf, usesOfStore } from "../kernels/kernel.ts";
import { stretched } from "../kernels/stretches.ts";
import { swapSides } from "../kernels/swap.ts";
import type { Printed } from "../lanes/loop.ts";
import { ceil, depthOf } from "../lanes/product.ts";
import type { LaneState } from "./indices.ts";
import { offsetText } from "./lanes.ts";
import { packColumns, packRows } from "./pack.ts";
import { enterBlock, SMALL_EPILOGUE } from "./product.ts";
import { add, type Code, get, i32, mul, splatF } from "./text.ts";
import { Printer } from "./values.ts";

/** Columns of an iteration: eight accumulators of four. */
const STRIP = 32;
/** Bytes of a list's item: where in the packed block, and the number. */
const ITEM = 8;
/** Bytes that a packed block of B may take. */
const BLOCK = 2 ** 20;

export function printSkip(
  given: ProductKernel,
  relaxed: boolean,
  code: Code,
  pointers: readonly string[],
  [from, to]: readonly [string, string],
  scratch: string,
): Printed {
  const turned = given.skip?.side === "rhs" ? swapSides(given) : given;
  const [batch, m, n, k] = turned.axes;
  const all = depthOf(turned);
  let columns = Math.min(ceil(n, STRIP), 256);
  while (columns > STRIP && columns * all * 4 > BLOCK) columns = ceil(columns / 2, STRIP);
  let rows = Math.min(ceil(m, 4), 64);
  const units = () => batch * Math.ceil(m / rows) * Math.ceil(n / columns);
  while (units() < 8 && rows > 16) rows = ceil(rows / 2, 4);
  while (units() < 8 && columns > STRIP) columns = ceil(columns / 2, STRIP);
  const { kernel, ...unpacked } = stretched(turned, columns);
  const p = new Printer(kernel, code, pointers);
  const [rowBlocks, columnBlocks] = [Math.ceil(m / rows), Math.ceil(n / columns)];

  const lhs = kernel.values[kernel.lhs];
  // rows that lie in one piece are read where they are
  const inPlace = lhs.kind === "load" && lhs.guard === undefined && strideOf(lhs.index, 3) === 1;
  const packedA = inPlace ? 0 : ceil(rows, 4) * k * 4;
  const packedB = columns * all * 4;
  // an item is written ahead of knowing whether it counts, four at a time
  const list = ITEM * (all + 4);
  const spill = packedA + packedB + list;

  const i = (hint: string, value = i32(0)) => code.let("i32", hint, value);
  const unit = i("u", get(from));
  const held = i("held", i32(-1));
  const [b, kk, row, column] = [i("b"), i("k"), i("m"), i("n")];
  const [n0, n1, m0, m1] = [i("n0"), i("n1"), i("m0"), i("m1")];
  p.setAxis(0, b);
  const B = packedA ? i("B", add(get(scratch), i32(packedA))) : scratch;
  const first = i("list", add(get(scratch), i32(packedA + packedB)));
  const end = i("end");
  const skip = kernel.skip!;
  p.need([skip.guard]);
  /** All lanes set where nothing may be left out. */
  const every = code.let("v128", "all", `(v128.not ${p.of(skip.guard)})`);

  code.loop(unit, get(to), 1, () => {
    p.startCounts();
    p.scope(() => {
      const group = enterBlock(kernel, code, unit, { rows, columns, rowBlocks, columnBlocks }, { b, n0, n1, m0, m1 });
      code.if(`(i32.ne ${group} ${get(held)})`, () => {
        code.set(held, group);
        packColumns(kernel, p, code, { n0, n1, k: kk, B, sums: sumsOf(kernel), width: columns, ...unpacked });
      });
      if (!inPlace) packRows(kernel, p, code, { m0, m1, k: kk, scratch, all: sumsOf(kernel)[0].size, sums: sumsOf(kernel).slice(0, 1) });
      code.set(row, get(m0));
      code.loop(row, get(m1), 1, () => {
        p.scope(() => {
          p.setAxis(1, row);
          const state = { kk, first, end, all: every, step: 4 * columns };
          if (inPlace) listRow(kernel, p, code, state);
          else listPacked(k, code, { ...state, row, m0, scratch });
          listOthers(kernel, p, code, state);
          const strips = (from: string, until: string, width: number) => {
            code.set(column, from);
            code.loop(column, until, width, () => strip(kernel, p, code, { column, first, end, B, n0, relaxed, spill, scratch, width }));
          };
          if (n >= STRIP) strips(get(n0), add(get(n1), i32(1 - STRIP)), STRIP);
          // what is left of the block, a panel at a time
          if (n % STRIP) strips(add(get(n0), `(i32.and (i32.sub ${get(n1)} ${get(n0)}) ${i32(-STRIP)})`), get(n1), 8);
        });
      });
    });
    p.storeCounts(unit);
  });
  return { units: batch * rowBlocks * columnBlocks, scratch: spill + STRIP * 4 };
}

interface ListState {
  /** i32 locals: the place along the sum, where the list begins, and where it ends once it is made. */
  readonly kk: string;
  readonly first: string;
  readonly end: string;
  readonly all: string;
  /** Bytes of a row of the packed block. */
  readonly step: number;
}

/** Adds the lanes of `value` whose bit is set in `bits` to the list; `at`: the first lane's place along the sum. */
function append(code: Code, end: string, value: string, bits: string, at: string, lanes: number, step: number): void {
  for (let l = 0; l < lanes; l++) {
    code.line(`(i32.store ${get(end)} ${mul(add(at, i32(l)), step)})`);
    code.line(`(v128.store32_lane offset=4 ${l} ${get(end)} ${get(value)})`);
    const bit = l === 3 ? `(i32.and ${get(bits)} ${i32(8)})` : `(i32.and (i32.shl ${get(bits)} ${i32(3 - l)}) ${i32(8)})`;
    code.set(end, add(get(end), bit));
  }
}

const nonzero = (value: string, all: string): string => `(i32x4.bitmask (v128.or (f32x4.ne ${value} ${splatF(0)}) ${get(all)}))`;

/** The list of a row that lies in memory, its elements next to each other. */
function listRow(kernel: ProductKernel, p: Printer, code: Code, { kk, first, end, all, step }: ListState): void {
  const lhs = kernel.values[kernel.lhs];
  if (lhs.kind !== "load") return;
  const k = kernel.axes[3];
  const a = code.local("v128", "a");
  const bits = code.local("i32", "bits");
  code.set(end, get(first));
  code.set(kk, i32(0));
  let base = "";
  p.scope(() => {
    p.setAxis(3, kk);
    base = code.let("i32", "row", add(get(p.pointers[lhs.operand]), mul(p.scalarIndex(lhs.index, 0), 4)));
  });
  const whole = k - (k % 4);
  const four = (lanes: number) => {
    code.set(a, `(v128.load ${add(get(base), mul(get(kk), 4))})`);
    code.set(bits, lanes === 4 ? nonzero(get(a), all) : `(i32.and ${nonzero(get(a), all)} ${i32((1 << lanes) - 1)})`);
    code.if(get(bits), () => append(code, end, a, bits, get(kk), lanes, step));
  };
  code.loop(kk, i32(whole), 4, () => four(4));
  if (k % 4) {
    code.set(kk, i32(whole));
    four(k % 4);
  }
}

/** The list of a row of a packed block: groups of four rows, for every place of the sum side by side. */
function listPacked(
  k: number,
  code: Code,
  { row, m0, kk, scratch, first, end, all, step }: ListState & { readonly row: string; readonly m0: string; readonly scratch: string },
): void {
  const inside = code.let("i32", "r", `(i32.sub ${get(row)} ${get(m0)})`);
  const at = code.let(
    "i32",
    "pa",
    add(get(scratch), add(mul(`(i32.shr_u ${get(inside)} ${i32(2)})`, 16 * k), mul(`(i32.and ${get(inside)} ${i32(3)})`, 4))),
  );
  const a = code.local("v128", "a");
  code.set(end, get(first));
  code.set(kk, i32(0));
  code.loop(kk, i32(k), 1, () => {
    code.set(a, `(v128.load32_splat ${get(at)})`);
    code.line(`(i32.store ${get(end)} ${mul(get(kk), step)})`);
    code.line(`(v128.store32_lane offset=4 0 ${get(end)} ${get(a)})`);
    code.set(end, add(get(end), `(i32.and ${nonzero(get(a), all)} ${i32(ITEM)})`));
    code.set(at, add(get(at), i32(16)));
  });
}

/** Puts the row's numbers of the further sums on the list, all of them where the gate is open. */
function listOthers(kernel: ProductKernel, p: Printer, code: Code, { kk, end, step }: ListState): void {
  for (const sum of sumsOf(kernel).slice(1)) {
    const lhs = kernel.values[sum.lhs];
    if (lhs.kind !== "load") continue;
    const a = code.local("v128", "a");
    const all = () => {
      code.set(kk, i32(0));
      code.loop(kk, i32(sum.size), 1, () => {
        p.scope(() => {
          p.setAxis(sum.axis, kk);
          code.set(a, `(v128.load32_splat ${add(get(p.pointers[lhs.operand]), mul(p.scalarIndex(lhs.index, 0), 4))})`);
        });
        code.line(`(i32.store ${get(end)} ${mul(add(get(kk), i32(sum.from)), step)})`);
        code.line(`(v128.store32_lane offset=4 0 ${get(end)} ${get(a)})`);
        code.set(end, add(get(end), i32(ITEM)));
      });
    };
    if (sum.gate === undefined) all();
    else {
      p.need([sum.gate]);
      code.if(`(v128.any_true ${p.of(sum.gate)})`, all);
    }
  }
}

interface StripState {
  readonly column: string;
  readonly first: string;
  readonly end: string;
  readonly B: string;
  readonly n0: string;
  readonly relaxed: boolean;
  /** Offset in scratch of room for the sums of a strip. */
  readonly spill: number;
  readonly scratch: string;
  /** Columns: whole panels, of which the last may be partly beyond the edge. */
  readonly width: number;
}

/** The sums of one row along its list, for the columns from `column` on, and what is stored of them. */
function strip(kernel: ProductKernel, p: Printer, code: Code, s: StripState): void {
  const [, , n] = kernel.axes;
  const acc = Array.from({ length: s.width / 4 }, () => code.local("v128", "c"));
  const item = code.let("i32", "it", get(s.first));
  const base = code.let("i32", "pb", add(get(s.B), mul(`(i32.sub ${get(s.column)} ${get(s.n0)})`, 4)));
  const at = code.local("i32", "at");
  const a = code.local("v128", "a");
  for (const c of acc) code.set(c, splatF(0));
  code.loop(item, get(s.end), ITEM, () => {
    code.set(a, `(v128.load32_splat offset=4 ${get(item)})`);
    code.set(at, add(get(base), `(i32.load ${get(item)})`));
    acc.forEach((c, j) => {
      const b = `(v128.load ${offsetText(16 * j)} ${get(at)})`;
      code.set(c, s.relaxed ? `(f32x4.relaxed_madd ${get(a)} ${b} ${get(c)})` : `(f32x4.add ${get(c)} (f32x4.mul ${get(a)} ${b}))`);
    });
  });

  const bytes = code.let("i32", "nb", mul(get(s.column), 4));
  const roots = kernel.stores.flatMap(usesOfStore);
  const accumulator = kernel.values.findIndex((v) => v.kind === "acc");
  const finish = (offset: number, valid: number, sum: string) => {
    const state: LaneState = { axis: 2, bytes, offset, valid };
    p.supply = (v) => (v === accumulator ? sum : undefined);
    p.withLanes(state, () => {
      p.need(roots);
      for (const store of kernel.stores) p.store(store);
    });
  };
  const panel = (width: number, offset: number, sums: (h: number) => string) => {
    p.scope(() => {
      for (const h of width > 4 ? [0, 1] : [0]) finish(offset + 16 * h, Math.min(4, width - 4 * h), sums(h));
    });
  };
  if (s.width === 8) {
    const sums = (h: number) => get(acc[h]);
    const rest = n % 8;
    if (rest === 0) panel(8, 0, sums);
    else
      code.if(
        `(i32.le_s ${get(s.column)} ${i32(n - 8)})`,
        () => panel(8, 0, sums),
        () => panel(rest, 0, sums),
      );
  } else if (needed(kernel.values, roots).length <= SMALL_EPILOGUE) {
    for (let j = 0; j < s.width / 8; j++) panel(8, 32 * j, (h) => get(acc[2 * j + h]));
  } else {
    const place = code.let("i32", "sums", add(get(s.scratch), i32(s.spill)));
    acc.forEach((c, j) => {
      code.line(`(v128.store ${offsetText(16 * j)} ${get(place)} ${get(c)})`);
    });
    const last = get(code.let("i32", "nbe", add(get(bytes), i32(4 * s.width))));
    code.loop(bytes, last, 32, () => {
      panel(8, 0, (h) => `(v128.load ${offsetText(16 * h)} ${get(place)})`);
      code.set(place, add(get(place), i32(32)));
    });
  }
  p.supply = () => undefined;
}
