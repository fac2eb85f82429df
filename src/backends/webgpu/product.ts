/** Products: a tile of outputs in registers; operands straight from memory, or through workgroup memory. */
import { type ProductKernel, type Sum, sumsOf, usesOfStore } from "../kernels/kernel.ts";
import type { ProductSchedule, RegisterSchedule, TiledSchedule } from "./schedule.ts";
import { atom } from "./spelling.ts";
import type { Template } from "./template.ts";
import { type Names, names } from "./text.ts";
import { type Fours, foursOf } from "./vector.ts";

const [B, M, N, K] = [0, 1, 2, 3];
const LANES = ["x", "y", "z", "w"];
/** A row of a tile is a scalar or a vector. */
const vector = (n: number): string => (n === 1 ? "f32" : `vec${n}f`);
const gather = (parts: readonly string[]): string => (parts.length === 1 ? parts[0] : `vec${parts.length}f(${parts.join(", ")})`);
const times = (n: number): number[] => [...Array(n).keys()];

/** The coordinate `first + i`, cut to the last one: what lies beyond is computed in vain, and not stored. */
const edge = (first: string, i: number, size: number, whole: boolean): string => {
  const text = i === 0 ? first : `${first} + ${i}`;
  return whole || i === 0 ? text : `min(${text}, ${size - 1})`;
};

export function printRegisters(kernel: ProductKernel, schedule: RegisterSchedule, t: Template): void {
  const [batch, m, n] = kernel.axes;
  const [tm, tn] = schedule.tile;
  const { threads, slices } = schedule;
  const { out, writer } = t;
  const [down, across] = [Math.ceil(m / tm), Math.ceil(n / tn)];
  const tiles = batch * down * across;
  const wide = Math.floor(threads / slices);
  t.workgroup(wide * slices, Math.ceil(tiles / wide));

  let active: string | undefined;
  if (slices === 1) t.element("at", tiles);
  else {
    t.group(Math.ceil(tiles / wide));
    out.add(`let slice = i32(lane) / ${wide};`);
    const at = `group_at * ${wide} + i32(lane) % ${wide}`;
    if (tiles % wide === 0) out.add(`let at = ${at};`);
    else {
      out.add(`let at = min(${at}, ${tiles - 1});`);
      active = `${at} < ${tiles}`;
    }
  }
  const found = new Map<number, string>();
  t.unflatten(
    "at",
    [
      [B, batch],
      [M, down],
      [N, across],
    ],
    (a) => ["b", "mt", "nt"][a],
    found,
  );
  out.add(`let m0 = ${scaled(found.get(M)!, tm)};`);
  out.add(`let n0 = ${scaled(found.get(N)!, tn)};`);
  const outer = names(new Map([[B, found.get(B)!]]));
  for (const i of times(tm).slice(1)) out.add(`let m${i} = ${edge("m0", i, m, m % tm === 0)};`);
  for (const j of times(tn).slice(1)) out.add(`let n${j} = ${edge("n0", j, n, n % tn === 0)};`);
  for (const i of times(tm)) out.add(`var acc${i} = ${vector(tn)}(0.0);`);

  for (const sum of sumsOf(kernel)) {
    const bit = 1 << sum.axis;
    // What does not change along the sum is computed before the loop: the row a gather reads, scales. Of further sums nothing is.
    const suffix = sum.axis === K ? "" : `_k${sum.axis - 2}`;
    const side = (axis: number, at: string, tag: string) =>
      names(
        new Map([
          [axis, at],
          [sum.axis, "k"],
        ]),
        outer,
        `_${tag}${suffix}`,
      );
    const left = times(tm).map((i) => side(M, `m${i}`, `a${i}`));
    const right = times(tn).map((j) => side(N, `n${j}`, `b${j}`));
    for (const scope of left) writer.hoist([sum.lhs], bit, scope, out);
    for (const scope of right) writer.hoist([sum.rhs], bit, scope, out);
    const gates = gatesOf(
      sum,
      times(tm).map((i) => `m${i}`),
      outer,
      t,
    );
    out.block(slices === 1 ? `for (var k = 0; k < ${sum.size}; k++)` : `for (var k = slice; k < ${sum.size}; k += ${slices})`, () => {
      const say = (scope: Names, value: number) => {
        const inner = names(new Map(), scope);
        writer.values([value], inner, out);
        return writer.say(value, inner);
      };
      const columns = right.map((scope) => say(scope, sum.rhs));
      out.add(`let columns = ${gather(columns)};`);
      for (const [i, scope] of left.entries()) out.add(added(i, atom(say(scope, sum.lhs)), gates?.[i]));
    });
  }
  if (slices > 1) {
    const shared = t.shared(vector(tn), wide * slices, "");
    for (const i of times(tm)) {
      out.add(`${shared}[lane] = acc${i};`);
      out.add("workgroupBarrier();");
      out.block("if (slice == 0)", () => {
        out.block(`for (var s = 1u; s < ${slices}u; s++)`, () => out.add(`acc${i} += ${shared}[lane + s * ${wide}u];`));
      });
      out.add("workgroupBarrier();");
    }
    out.add(`if (${["slice != 0", ...(active ? [`!(${active})`] : [])].join(" || ")}) { return; }`);
  }
  epilogue(kernel, schedule, names(new Map(), outer), t);
}

/** The statement that adds to a row of the tile, where the gate is open. */
const added = (i: number, a: string, gate: string | undefined): string =>
  gate === undefined ? `acc${i} += ${a} * columns;` : `acc${i} = select(acc${i}, acc${i} + ${a} * columns, ${gate});`;

/** Names, before a loop along the sum, whether its gate is open in each of these rows; `undefined` where it has none. */
function gatesOf({ gate, axis }: Sum, rows: readonly string[], outer: Names, { out, writer }: Template): string[] | undefined {
  if (gate === undefined) return undefined;
  return rows.map((row, i) => {
    const scope = names(new Map([[M, row]]), outer, `_g${i}_${axis}`);
    writer.values([gate], scope, out, true);
    return writer.say(gate, scope);
  });
}

const scaled = (text: string, by: number): string =>
  by === 1 ? text : /^\d+$/.test(text) ? String(Number(text) * by) : `${/^\w+$/.test(text) ? text : `(${text})`} * ${by}`;

export function printTiled(kernel: ProductKernel, schedule: TiledSchedule, t: Template): void {
  const [batch, m, n] = kernel.axes;
  const [tm, tn] = schedule.tile;
  const [threadsDown, threadsAcross] = schedule.threads;
  const { depth } = schedule;
  const { out, writer } = t;
  const [tall, wide] = [tm * threadsDown, tn * threadsAcross];
  const threads = threadsDown * threadsAcross;
  const [down, across] = [Math.ceil(m / tall), Math.ceil(n / wide)];
  t.workgroup(threads, batch * down * across);
  t.group(batch * down * across);
  const found = new Map<number, string>();
  t.unflatten(
    "group_at",
    [
      [B, batch],
      [M, down],
      [N, across],
    ],
    (a) => ["b", "mt", "nt"][a],
    found,
  );
  out.add(`let first_m = ${scaled(found.get(M)!, tall)};`);
  out.add(`let first_n = ${scaled(found.get(N)!, wide)};`);
  out.add(`let thread_m = i32(lane) / ${threadsAcross};`);
  out.add(`let thread_n = i32(lane) % ${threadsAcross};`);
  out.add(`let m0 = first_m + thread_m * ${tm};`);
  out.add(`let n0 = first_n + thread_n * ${tn};`);
  for (const i of times(tm)) out.add(`var acc${i} = ${vector(tn)}(0.0);`);
  const outer = names(new Map([[B, found.get(B)!]]));
  // where an invocation has four rows or columns of a side, workgroup memory holds fours: one read instead of four
  const [foursA, foursB] = [tm === 4, tn === 4];
  const memory = (fours: boolean, width: number, suffix: string) =>
    fours ? t.shared("vec4f", (width * depth) / 4, suffix) : t.shared("f32", width * depth, suffix);
  const tileA = memory(foursA, tall, "_a");
  const tileB = memory(foursB, wide, "_b");

  const fours = foursOf(kernel, t.bindings);
  for (const side of [fours.lhs, fours.rhs]) if (side) t.bindings.declareFours(side.operand);

  /** Brings rows `first..first+width` of an operand, `depth` of the sum from `k0`, into workgroup memory as [k][row]. */
  const bring = (
    { axis: K, size: k }: Sum,
    value: number,
    axis: number,
    first: string,
    width: number,
    tile: string,
    inFours: boolean,
    suffix: string,
    four?: Fours,
  ) => {
    const size = kernel.axes[axis];
    const wholeK = k % depth === 0;
    // Neighbours read neighbouring elements: along k where that is the unit stride, else along the rows.
    const alongK = four ? four.along === K : t.alongSum(value, axis, K);
    const [rowStep, kStep] = [four && !alongK ? 4 : 1, four && alongK ? 4 : 1];
    const [rowSteps, kSteps] = [width / rowStep, depth / kStep];
    out.block(`for (var e = i32(lane); e < ${rowSteps * kSteps}; e += ${threads})`, () => {
      out.add(`let ${suffix}k = ${scaled(alongK ? `e % ${kSteps}` : `e / ${rowSteps}`, kStep)};`);
      out.add(`let ${suffix}row = ${scaled(alongK ? `e / ${kSteps}` : `e % ${rowSteps}`, rowStep)};`);
      const row = `${first} + ${suffix}row`;
      out.add(`let ${suffix}at = ${size % width === 0 ? row : `min(${row}, ${size - rowStep})`};`);
      out.add(`let ${suffix}sum = ${wholeK ? `k0 + ${suffix}k` : `min(k0 + ${suffix}k, ${k - kStep})`};`);
      const inside = wholeK ? undefined : `k0 + ${suffix}k < ${k}`;
      const put = (kk: string, rr: string, text: string) =>
        out.add(
          inFours ? `${tile}[${kk} * ${width / 4} + ${rr} / 4][${rr} % 4] = ${text};` : `${tile}[${kk} * ${width} + ${rr}] = ${text};`,
        );
      if (four) {
        const by = (name: string, step: number) => (step === 1 ? name : `(${name} / ${step})`);
        const place = names(
          new Map([
            [axis, by(`${suffix}at`, rowStep)],
            [K, by(`${suffix}sum`, kStep)],
          ]),
          outer,
        );
        const read = t.bindings.four(four.operand, writer.index(four.index, place));
        const text = inside ? `select(vec4f(0.0), ${read}, ${inside})` : read;
        if (inFours && !alongK) {
          out.add(`${tile}[${suffix}k * ${width / 4} + ${suffix}row / 4] = ${text};`);
          return;
        }
        out.add(`let ${suffix}4 = ${text};`);
        for (const j of times(4)) {
          const plus = (name: string, step: number) => (step === 1 || j === 0 ? name : `(${name} + ${j})`);
          put(plus(`${suffix}k`, kStep), plus(`${suffix}row`, rowStep), `${suffix}4.${LANES[j]}`);
        }
        return;
      }
      const inner = names(
        new Map([
          [axis, `${suffix}at`],
          [K, `${suffix}sum`],
        ]),
        outer,
        `_${suffix}`,
      );
      writer.values([value], inner, out);
      const text = writer.say(value, inner);
      put(`${suffix}k`, `${suffix}row`, inside ? `select(0.0, ${text}, ${inside})` : text);
    });
  };
  const along = (sum: Sum, { lhs, rhs }: ReturnType<typeof foursOf>, gates: readonly string[] | undefined) => {
    bring(sum, sum.lhs, M, "first_m", tall, tileA, foursA, "a", lhs);
    bring(sum, sum.rhs, N, "first_n", wide, tileB, foursB, "b", rhs);
    out.add("workgroupBarrier();");
    out.block(`for (var k = 0; k < ${depth}; k++)`, () => {
      if (foursA) out.add(`let rows = ${tileA}[k * ${tall / 4} + thread_m];`);
      else out.add(`let from_a = k * ${tall} + thread_m * ${tm};`);
      if (foursB) out.add(`let columns = ${tileB}[k * ${wide / 4} + thread_n];`);
      else {
        out.add(`let from_b = k * ${wide} + thread_n * ${tn};`);
        out.add(`let columns = ${gather(times(tn).map((j) => `${tileB}[from_b + ${j}]`))};`);
      }
      for (const i of times(tm)) out.add(added(i, foursA ? `rows.${LANES[i]}` : `${tileA}[from_a + ${i}]`, gates?.[i]));
    });
    out.add("workgroupBarrier();");
  };
  for (const sum of sumsOf(kernel)) {
    const rows = times(tm).map((i) => (m % tall === 0 ? `(m0 + ${i})` : `min(m0 + ${i}, ${m - 1})`));
    const gates = gatesOf(sum, rows, outer, t);
    out.block(`for (var k0 = 0; k0 < ${sum.size}; k0 += ${depth})`, () => along(sum, sum.axis === K ? fours : {}, gates));
  }
  if (m % tall !== 0 || n % wide !== 0) out.add(`if (m0 >= ${m} || n0 >= ${n}) { return; }`);
  for (const i of times(tm).slice(1)) out.add(`let m${i} = m0 + ${i};`);
  for (const j of times(tn).slice(1)) out.add(`let n${j} = n0 + ${j};`);
  epilogue(kernel, schedule, names(new Map(), outer), t);
}

/** Stores the tile. Outputs beyond the edge are skipped; a coordinate cut to the edge is told by its uncut form. */
function epilogue(kernel: ProductKernel, { tile: [tm, tn], unrolled }: ProductSchedule, outer: Names, t: Template): void {
  const [, m, n] = kernel.axes;
  const { out, writer } = t;
  const accs = kernel.values.flatMap((v, i) => (v.kind === "acc" ? [i] : []));
  const roots = kernel.stores.flatMap(usesOfStore);
  const edges = (mi: string, nj: string, i: string, j: string): string | undefined =>
    [m % tm !== 0 && i !== "0" ? `${mi} < ${m}` : "", n % tn !== 0 && j !== "0" ? `${nj} < ${n}` : ""].filter(Boolean).join(" && ") ||
    undefined;
  const one = (scope: Names, acc: string, when: string | undefined) => {
    for (const a of accs) scope.values.set(a, acc);
    if (when === undefined) writer.stores(kernel.stores, scope, out);
    else out.block(`if (${when})`, () => writer.stores(kernel.stores, scope, out));
  };
  if (t.count(roots) > unrolled && tm * tn > 1) {
    out.add(
      `var tile = array<${vector(tn)}, ${tm}>(${times(tm)
        .map((i) => `acc${i}`)
        .join(", ")});`,
    );
    out.block(`for (var i = 0; i < ${tm}; i++)`, () => {
      out.add(`let m = m0 + i;`);
      out.block(`for (var j = 0; j < ${tn}; j++)`, () => {
        out.add(`let n = n0 + j;`);
        one(
          names(
            new Map([
              [M, "m"],
              [N, "n"],
            ]),
            outer,
          ),
          tn === 1 ? "tile[i]" : "tile[i][j]",
          edges("m", "n", "i", "j"),
        );
      });
    });
    return;
  }
  for (const i of times(tm)) {
    const perRow = names(new Map([[M, `m${i}`]]), outer, `_${i}`);
    for (const j of times(tn)) {
      const scope = names(new Map([[N, `n${j}`]]), perRow, `_${j}`);
      one(scope, tn === 1 ? `acc${i}` : `acc${i}.${LANES[j]}`, edges(`m0 + ${i}`, `n0 + ${j}`, String(i), String(j)));
    }
  }
}
