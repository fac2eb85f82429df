/** Copies blocks of a product's operands into scratch, in the order in which the tiles read them. */
import { type Index, strideOf } from "../kernels/index.ts";
import type { ProductKernel, Sum } from "../kernels/kernel.ts";
import type { Across, Along } from "../kernels/stretches.ts";
import type { LaneState } from "./indices.ts";
import { offsetText } from "./lanes.ts";
import { add, type Code, get, i32, mul, splatF } from "./text.ts";
import { unpackAcross, unpackAlong } from "./unpack.ts";
import type { Printer } from "./values.ts";

/** The part of the first sum from k0 on and before k1 (expressions); k0 is a multiple of 4. */
export interface Piece {
  readonly k0: string;
  readonly k1: string;
}

interface Columns {
  /** i32 locals: the columns, the place along a sum, and where they go. */
  readonly n0: string;
  readonly n1: string;
  readonly k: string;
  readonly B: string;
  readonly sums: readonly Sum[];
  /** The panels lie side by side in rows of so many columns, one row for every k, rather than one behind the other. */
  readonly width?: number;
  /** Of the first sum that part alone, in panels of `all` k. */
  readonly piece?: Piece & { readonly all: number };
  /** How the first sum is unpacked. */
  readonly along?: Along | undefined;
  readonly across?: Across | undefined;
}

/** Packs the columns n0..n1 of B: for every panel of 8 and every k of all sums, 8 values side by side. Columns beyond n hold whatever lies there. */
export function packColumns(kernel: ProductKernel, p: Printer, code: Code, columns: Columns): void {
  const { n0, n1, k, B, sums, width: side, piece, along, across } = columns;
  /** Bytes from one k to the next. */
  const step = side === undefined ? 32 : 4 * side;
  const n = kernel.axes[2];
  const column = code.let("i32", "n", get(n0));
  const bytes = code.local("i32", "x");
  const out = code.let("i32", "to", get(B));
  const lanes = (offset: number, valid: number): LaneState => ({ axis: 2, bytes, offset, valid });
  const copy = (sum: Sum, from: string, end: string, width: number) => {
    code.set(k, from);
    code.loop(k, end, 1, () => {
      p.scope(() => {
        p.setAxis(sum.axis, k);
        for (const offset of [0, 16]) {
          const valid = Math.min(4, width - offset / 4);
          if (valid <= 0) {
            code.line(`(v128.store offset=${offset} ${get(out)} ${splatF(0)})`);
            continue;
          }
          p.withLanes(lanes(offset, valid), () => {
            p.need([sum.rhs]);
            code.line(`(v128.store ${offsetText(offset)} ${get(out)} ${p.of(sum.rhs)})`);
          });
        }
      });
      code.set(out, add(get(out), i32(step)));
    });
  };
  const whole = (width: number) => {
    code.set(bytes, mul(get(column), 4));
    const panel = piece && get(code.let("i32", "panel", get(out)));
    for (const [i, sum] of sums.entries()) {
      if (across !== undefined && i === 0) {
        code.set(out, add(get(out), mul(piece ? `(i32.sub ${piece.k1} ${piece.k0})` : i32(sum.size), step)));
        continue;
      }
      if (panel !== undefined) code.set(out, add(panel, i32(32 * sum.from)));
      one(sum, width, i === 0 ? piece : undefined);
    }
    if (panel !== undefined) code.set(out, add(panel, i32(32 * piece!.all)));
  };
  const one = (sum: Sum, width: number, part: Piece | undefined) => {
    const rhs = kernel.values[sum.rhs];
    const depth = sum.size;
    const plain = rhs.kind === "load" && rhs.guard === undefined;
    if (along !== undefined && sum === sums[0] && width === 8) {
      unpackAlong(p, code, along, { from: part?.k0 ?? i32(0), end: part?.k1 ?? i32(depth), out, step, lanes });
      return;
    }
    const transposed = plain && strideOf(rhs.index, sum.axis) === 1 && strideOf(rhs.index, 2) !== 1 && depth >= 4;
    if (transposed && width === 8) {
      const even = depth - (depth % 4);
      const end = part ? `(select ${part.k1} ${i32(even)} (i32.lt_s ${part.k1} ${i32(even)}))` : i32(even);
      code.set(k, part?.k0 ?? i32(0));
      packFours(p, code, { axis: sum.axis, load: rhs, k, end, bytes, out, step });
      const rest = () => copy(sum, i32(even), i32(depth), 8);
      if (depth % 4 && part) code.if(`(i32.eq ${part.k1} ${i32(depth)})`, rest);
      else if (depth % 4) rest();
    } else copy(sum, part?.k0 ?? i32(0), part?.k1 ?? i32(depth), width);
  };
  const rest = n % 8;
  if (across !== undefined) {
    const all = piece?.all ?? sums.reduce((total, sum) => total + sum.size, 0);
    const place = { axis: sums[0].axis, k, k0: piece?.k0 ?? i32(0), k1: piece?.k1 ?? i32(sums[0].size), step };
    const panel = side === undefined ? 32 * all : 32;
    code.loop(column, get(n1), across.long, () => {
      const first = add(mul(`(i32.sub ${get(column)} ${get(n0)})`, panel / 8), i32(sums[0].from * step));
      unpackAcross(p, code, across, { ...place, column, panel, to: add(get(B), first) });
    });
    if (sums.length === 1) return;
    code.set(column, get(n0));
    code.set(out, get(B));
  }
  code.loop(column, get(n1), 8, () => {
    if (side !== undefined) code.set(out, add(get(B), mul(`(i32.sub ${get(column)} ${get(n0)})`, 4)));
    if (rest === 0) whole(8);
    else if (n < 8) whole(rest);
    else
      code.if(
        `(i32.le_s ${get(column)} ${i32(n - 8)})`,
        () => whole(8),
        () => whole(rest),
      );
  });
}

/** Of a B that lies along the sum: four k at a time for 8 columns, turned. `step`: bytes from one k to the next in what is packed. */
function packFours(
  p: Printer,
  code: Code,
  {
    axis,
    load,
    k,
    end,
    bytes,
    out,
    step,
  }: {
    axis: number;
    load: { readonly operand: number; readonly index: Index };
    k: string;
    end: string;
    bytes: string;
    out: string;
    step: number;
  },
): void {
  code.loop(k, end, 4, () => {
    p.scope(() => {
      p.setAxis(axis, k);
      for (const half of [0, 4]) {
        const row = [0, 1, 2, 3].map((c) => {
          const at = add(get(p.pointers[load.operand]), mul(inColumn(p, load.index, bytes, half + c), 4));
          return get(code.let("v128", "r", `(v128.load ${at})`));
        });
        const low = (x: string, y: string) => get(code.let("v128", "t", shuffle(x, y, [0, 4, 1, 5])));
        const high = (x: string, y: string) => get(code.let("v128", "t", shuffle(x, y, [2, 6, 3, 7])));
        const [a, c, d, e] = [low(row[0], row[1]), low(row[2], row[3]), high(row[0], row[1]), high(row[2], row[3])];
        const lines = [shuffle(a, c, [0, 1, 4, 5]), shuffle(a, c, [2, 3, 6, 7]), shuffle(d, e, [0, 1, 4, 5]), shuffle(d, e, [2, 3, 6, 7])];
        lines.forEach((v, j) => {
          code.line(`(v128.store ${offsetText(step * j + 4 * half)} ${get(out)} ${v})`);
        });
      }
    });
    code.set(out, add(get(out), i32(4 * step)));
  });
}

const shuffle = (x: string, y: string, lanes: readonly number[]): string =>
  `(i8x16.shuffle ${lanes.flatMap((l) => [0, 1, 2, 3].map((b) => 4 * l + b)).join(" ")} ${x} ${y})`;

/** The element index of B in the column `lane` of the panel at `bytes`. */
function inColumn(p: Printer, index: Index, bytes: string, lane: number): string {
  let out = "";
  p.withLanes({ axis: 2, bytes, offset: 0, valid: 4 }, () => {
    out = p.scalarIndex(index, lane);
  });
  return out;
}

/** Packs the rows m0..m1 of A: for every group of 4 rows and every k of these sums, `all` together, 4 values side by side. `piece`: of the first sum that part alone. */
export function packRows(
  kernel: ProductKernel,
  p: Printer,
  code: Code,
  { sums, piece, ...rest }: Rows & { readonly sums: readonly Sum[]; readonly piece?: Piece },
): void {
  for (const [i, sum] of sums.entries()) packSum(p, code, kernel.axes[1], { ...rest, sum, part: i === 0 ? piece : undefined });
}
interface Rows {
  readonly m0: string;
  readonly m1: string;
  readonly k: string;
  readonly scratch: string;
  readonly all: number;
}

function packSum(
  p: Printer,
  code: Code,
  m: number,
  { m0, m1, k, scratch, all, sum, part }: Rows & { readonly sum: Sum; readonly part: Piece | undefined },
): void {
  const bytes = code.local("i32", "x");
  const out = code.local("i32", "to");
  const rest = m % 4;
  code.set(k, part?.k0 ?? i32(0));
  code.loop(k, part?.k1 ?? i32(sum.size), 1, () => {
    p.scope(() => {
      p.setAxis(sum.axis, k);
      const place = part ? `(i32.sub ${get(k)} ${part.k0})` : get(k);
      code.set(out, add(get(scratch), add(mul(place, 16), i32(16 * sum.from))));
      code.set(bytes, mul(get(m0), 4));
      const end = get(code.let("i32", "end", mul(get(m1), 4)));
      const body = (valid: number) => {
        p.scope(() => {
          p.withLanes({ axis: 1, bytes, offset: 0, valid }, () => {
            p.need([sum.lhs]);
            code.line(`(v128.store ${get(out)} ${p.of(sum.lhs)})`);
          });
        });
      };
      p.lift([sum.lhs], [], 1);
      code.loop(bytes, end, 16, () => {
        if (rest === 0) body(4);
        else if (m < 4) body(rest);
        else
          code.if(
            `(i32.le_s ${get(bytes)} ${i32(4 * (m - 4))})`,
            () => body(4),
            () => body(rest),
          );
        code.set(out, add(get(out), i32(16 * all)));
      });
    });
  });
}
