/** Copies blocks of a product's operands into scratch, in the order in which the tiles read them. */
import { type Index, strideOf } from "../kernels/index.ts";
import { needed, type ProductKernel, type Sum } from "../kernels/kernel.ts";
import type { Along } from "../kernels/stretches.ts";
import { add, divide, mul } from "./text.ts";
import type { LaneState, Printer } from "./values.ts";

interface Block {
  readonly n0: string;
  readonly n1: string;
  readonly m0: string;
  readonly m1: string;
  /** Columns of a panel; rows of a block; places of all sums that are packed. */
  readonly panel: number;
  readonly rows: number;
  readonly all: number;
  /** Of the first sum that part alone. */
  readonly part: { readonly k0: string; readonly k1: string } | undefined;
}

/** Whether what a value loads lies side by side along axis `a` rather than along axis `b`. */
function rather(kernel: ProductKernel, p: Printer, root: number, a: number, b: number): boolean {
  const cost = (axis: number) => {
    let sum = 0;
    p.withLanes({ axis, at: "0", offset: 0, valid: p.width }, () => {
      for (const v of needed(kernel.values, [root])) {
        const value = kernel.values[v];
        if (value.kind !== "load") continue;
        const stride = p.laneStride(value.index);
        sum += stride === 0 ? 0.5 : stride === 1 ? 1 : 4;
      }
    });
    return sum;
  };
  // what is computed along the sum is stored number by number
  return cost(a) + 2 < cost(b);
}

/** Packs the columns n0..n1 of B: for every panel and every k of all sums, a panel's columns side by side. Columns beyond n hold whatever. */
export function packColumns(
  kernel: ProductKernel,
  p: Printer,
  { sums, along, ...t }: Block & { readonly sums: readonly Sum[]; readonly along?: Along | undefined },
): void {
  const n = kernel.axes[2];
  p.loop("n", t.n0, t.n1, t.panel, (column) => {
    const to = p.code.let("f32a *", "to", `B + (${column} - ${t.n0}) * ${t.all}`);
    for (const sum of sums) {
      const part = sum.axis === 3 ? t.part : undefined;
      const rhs = kernel.values[sum.rhs];
      const plain = rhs.kind === "load" && rhs.guard === undefined;
      const state = { column, to, part, panel: t.panel, sum };
      if (
        plain &&
        sum.size >= 4 &&
        strideOf(rhs.index, sum.axis) === 1 &&
        strideOf(rhs.index, 2) !== 1 &&
        strideOf(rhs.index, 2) !== undefined
      )
        transposed(kernel, p, state, rhs);
      else {
        const edge = n % t.panel;
        const copy = (width: number) => {
          if (along !== undefined && sum === sums[0]) unpackAlong(p, state, along, width);
          else if (rather(kernel, p, sum.rhs, sum.axis, 2)) alongSum(p, state, width);
          else alongColumns(p, state, width);
        };
        if (edge === 0) copy(t.panel);
        else if (n < t.panel) copy(edge);
        else {
          p.block(`if (${column} + ${t.panel} <= ${n})`, () => copy(t.panel));
          p.block("else", () => copy(edge));
        }
      }
    }
  });
}

interface Panel {
  readonly column: string;
  readonly to: string;
  readonly panel: number;
  readonly sum: Sum;
  readonly part: { readonly k0: string; readonly k1: string } | undefined;
}
const rangeOf = ({ part, sum }: Panel): [string, string] => (part ? [part.k0, part.k1] : ["0", String(sum.size)]);
/** Where place k of the sum is packed, in places. */
const placeOf = (k: string, { part, sum }: Pick<Panel, "part" | "sum">): string => add(part ? `(${k} - ${part.k0})` : k, String(sum.from));

/** Lanes along the columns, words one after the other: see `../kernels/stretches.ts`. */
function unpackAlong(p: Printer, t: Panel, { outer, inner, roots }: Along, width: number): void {
  const [k0, k1] = rangeOf(t);
  const vectors = (body: (offset: number) => void) => {
    for (let offset = 0; offset < t.panel; offset += p.width) {
      const valid = Math.min(p.width, width - offset);
      if (valid > 0) p.withLanes({ axis: 2, at: t.column, offset, valid }, () => body(offset));
    }
  };
  const places = (first: string, last: string, from: string) =>
    p.loop("r", first, last, 1, (r) => {
      p.setAxis(inner, r);
      const to = p.code.let("f32a *", "to", `${t.to} + (${placeOf(add(from, mul(r, roots.length)), t)}) * ${t.panel}`);
      for (const [c, root] of roots.entries())
        vectors((offset) => {
          p.need([root]);
          p.code.line(`*(uf${p.width} *)(${to} + ${c * t.panel + offset}) = ${p.of(root)};`);
        });
    });
  if (outer === undefined) return places(divide(k0, roots.length), divide(k1, roots.length), "0");
  const { axis, long } = outer;
  p.loop("s", divide(k0, long), divide(k1, long), 1, (s) => {
    p.setAxis(axis, s);
    vectors(() => p.lift(roots));
    places("0", String(long / roots.length), mul(s, long));
  });
}

/** Lanes along the columns. */
function alongColumns(p: Printer, t: Panel, width: number): void {
  const [k0, k1] = rangeOf(t);
  p.loop("k", k0, k1, 1, (k) => {
    p.setAxis(t.sum.axis, k);
    const to = p.code.let("f32a *", "to", `${t.to} + (${placeOf(k, t)}) * ${t.panel}`);
    for (let offset = 0; offset < t.panel; offset += p.width) {
      const valid = Math.min(p.width, width - offset);
      if (valid <= 0) {
        p.code.line(`*(uf${p.width} *)(${to} + ${offset}) = splat_f${p.width}(0.0f);`);
        continue;
      }
      p.withLanes({ axis: 2, at: t.column, offset, valid }, () => {
        p.need([t.sum.rhs]);
        p.code.line(`*(uf${p.width} *)(${to} + ${offset}) = ${p.of(t.sum.rhs)};`);
      });
    }
  });
}

/** Lanes along the sum: each goes to a row of the panel of its own. */
function alongSum(p: Printer, t: Panel, width: number): void {
  p.loop("j", "0", String(width), 1, (j) => {
    p.setAxis(2, p.code.let("ix", "n", `${t.column} + ${j}`));
    lanesAlongSum(p, t, t.sum.rhs, (k) => `${t.to} + (${placeOf(k, t)}) * ${t.panel} + ${j}`, t.panel);
  });
}
function lanesAlongSum(
  p: Printer,
  { sum, part }: Pick<Panel, "sum" | "part">,
  value: number,
  place: (k: string) => string,
  step: number,
): void {
  const [k0, k1] = part ? [part.k0, part.k1] : ["0", String(sum.size)];
  const tail = sum.size % p.width;
  const body = (k: string, valid: number) => {
    const state: LaneState = { axis: sum.axis, at: k, offset: 0, valid };
    p.withLanes(state, () => {
      p.need([value]);
      const to = p.code.let("f32a *", "to", place(k));
      for (let l = 0; l < valid; l++) p.code.line(`${to}[${l * step}] = ${p.of(value)}[${l}];`);
    });
  };
  p.loop("k", k0, `${k1} - ${p.width - 1}`, p.width, (k) => body(k, p.width));
  if (tail) {
    const whole = sum.size - tail;
    p.block(part ? `if (${k1} == ${sum.size})` : "", () => body(p.code.let("ix", "k", String(whole)), tail));
  }
}

/** Plain loads that lie side by side along the sum: four rows by four columns at a time. */
function transposed(kernel: ProductKernel, p: Printer, t: Panel, rhs: { readonly operand: number; readonly index: Index }): void {
  const { code } = p;
  const n = kernel.axes[2];
  const [k0, k1] = rangeOf(t);
  const from = (j: string, k: string) => {
    p.setAxis(2, j);
    p.setAxis(t.sum.axis, k);
    return `${p.pointer(rhs.operand)} + (${p.scalarIndex(rhs.index)})`;
  };
  p.loop("j", "0", String(t.panel), 4, (j) => {
    // columns beyond the last repeat it
    const at = [0, 1, 2, 3].map((c) =>
      code.let("const f32a *", "x", from(n % t.panel ? `least(${t.column} + ${j} + ${c}, ${n - 1})` : `(${t.column} + ${j} + ${c})`, k0)),
    );
    const to = `${t.to} + (${placeOf(k0, t)}) * ${t.panel} + ${j}`;
    code.line(`columns4(${to}, ${t.panel}, ${k0 === "0" ? k1 : `${k1} - ${k0}`}, ${at.join(", ")});`);
  });
}

/** Packs the rows m0..m1 of A: for every k of a sum, the rows of the block side by side. */
export function packRows(kernel: ProductKernel, p: Printer, { sum, part, ...t }: Block & { readonly sum: Sum }): void {
  const { code } = p;
  const m = kernel.axes[1];
  const place = (k: string) => `A + (${placeOf(k, { sum, part })}) * ${t.rows}`;
  if (rather(kernel, p, sum.lhs, sum.axis, 1)) {
    p.loop("m", t.m0, t.m1, 1, (row) => {
      p.setAxis(1, row);
      lanesAlongSum(p, { sum, part }, sum.lhs, (k) => `${place(k)} + (${row} - ${t.m0})`, t.rows);
    });
    return;
  }
  const [k0, k1] = part ? [part.k0, part.k1] : ["0", String(sum.size)];
  // blocks begin at multiples of a tile's rows, lanes at multiples of their own number
  const plain = t.rows % p.width === 0;
  const lhs = kernel.values[sum.lhs];
  // what is read and written beyond the block is overwritten by the next place of the sum, or is beyond the last
  const loose = lhs.kind === "load" && lhs.guard === undefined && strideOf(lhs.index, 1) === 1;
  p.loop("k", k0, k1, 1, (k) => {
    p.setAxis(sum.axis, k);
    const to = code.let("f32a *", "to", place(k));
    const body = (row: string, valid: number) =>
      p.withLanes({ axis: 1, at: row, offset: 0, valid }, () => {
        p.need([sum.lhs]);
        code.line(`__builtin_memcpy(${to} + (${row} - ${t.m0}), &${p.of(sum.lhs)}, ${4 * valid});`);
      });
    if (loose) {
      p.loop("m", t.m0, t.m1, p.width, (row) => body(row, p.width));
      return;
    }
    if (plain) {
      const tail = m % p.width;
      p.loop("m", t.m0, `${t.m1} - ${p.width - 1}`, p.width, (row) => body(row, p.width));
      if (tail) p.block(`if (${t.m1} == ${m})`, () => body(code.let("ix", "m", String(m - tail)), tail));
      return;
    }
    p.loop("m", t.m0, t.m1, 1, (row) => {
      p.setAxis(1, row);
      p.need([sum.lhs]);
      code.line(`${to}[${row} - ${t.m0}] = ${p.of(sum.lhs)}[0];`);
    });
  });
}
