/**
 * Products that leave out zeros of their left side: an invocation has one row and some columns, so that neighbours, which share the row, all look
 * at the same element of it and go the same way. What is not zero is multiplied with a row of the other side, which neighbours read side by side.
 */

import type { WebGPULimits } from "../../ground/limits.ts";
import { type ProductKernel, sumsOf } from "../kernels/kernel.ts";
import { swapSides } from "../kernels/swap.ts";
import type { Template } from "./template.ts";
import { names } from "./text.ts";
import { foursOf } from "./vector.ts";

const [B, M, N, K] = [0, 1, 2, 3];
/** Columns of an invocation: looking at an element of the row is worth several multiply-adds. */
const COLUMNS = 16;

/** The kernel whose left side is the one with zeros: print and bind this one. */
export const leftSkips = (kernel: ProductKernel): ProductKernel => (kernel.skip?.side === "rhs" ? swapSides(kernel) : kernel);

export function printSkip(kernel: ProductKernel, limits: WebGPULimits, t: Template): void {
  const [batch, m, n] = kernel.axes;
  const { out, writer } = t;
  const across = Math.ceil(n / COLUMNS);
  const tiles = batch * m * across;
  const threads = Math.min(64, limits.invocations);
  t.workgroup(threads, Math.ceil(tiles / threads));
  t.element("at", tiles);
  const found = new Map<number, string>();
  t.unflatten(
    "at",
    [
      [B, batch],
      [M, m],
      [N, across],
    ],
    (a) => ["b", "m", "nt"][a],
    found,
  );
  out.add(`let n0 = ${found.get(N)} * ${COLUMNS};`);
  const outer = names(
    new Map([
      [B, found.get(B)!],
      [M, found.get(M)!],
    ]),
  );
  writer.values([kernel.skip!.guard], outer, out, true);
  out.add(`let all = !(${writer.say(kernel.skip!.guard, outer)});`);
  const fours = foursOf(kernel, t.bindings).rhs;
  const vector = fours?.along === N && n % COLUMNS === 0 ? fours : undefined;
  if (vector) t.bindings.declareFours(vector.operand);
  const columns = Array.from({ length: COLUMNS }, (_, j) => j);
  const sums = sumsOf(kernel);
  if (!vector || sums.length > 1)
    for (const j of columns) out.add(`let n_${j} = ${n % COLUMNS === 0 ? `n0 + ${j}` : `min(n0 + ${j}, ${n - 1})`};`);
  const quads = columns.slice(0, COLUMNS / 4);
  for (const q of quads) out.add(`var acc${q} = vec4f(0.0);`);

  for (const sum of sums) {
    const first = sum.axis === K;
    const [bit, suffix] = [1 << sum.axis, first ? "" : `${sum.axis}`];
    const inFours = first ? vector : undefined;
    const left = names(new Map([[sum.axis, "k"]]), outer, `_a${suffix}`);
    const right = columns.map((j) =>
      names(
        new Map([
          [N, `n_${j}`],
          [sum.axis, "k"],
        ]),
        outer,
        `_b${j}_${suffix}`,
      ),
    );
    writer.hoist([sum.lhs], bit, left, out);
    if (!inFours) for (const scope of right) writer.hoist([sum.rhs], bit, scope, out);
    const whole = () =>
      out.block(`for (var k = 0; k < ${sum.size}; k++)`, () => {
        const inner = names(new Map(), left);
        writer.values([sum.lhs], inner, out, true);
        const a = writer.say(sum.lhs, inner);
        const added = () => {
          for (const q of quads) {
            if (inFours) {
              const place = names(
                new Map([
                  [N, `(n0 / 4 + ${q})`],
                  [K, "k"],
                ]),
                outer,
              );
              out.add(`acc${q} += ${a} * ${t.bindings.four(inFours.operand, writer.index(inFours.index, place))};`);
              continue;
            }
            const parts = [0, 1, 2, 3].map((l) => {
              const scope = names(new Map(), right[4 * q + l]);
              writer.values([sum.rhs], scope, out);
              return writer.say(sum.rhs, scope);
            });
            out.add(`acc${q} += ${a} * vec4f(${parts.join(", ")});`);
          }
        };
        // what the guard speaks of is the other side of the first sum alone
        if (first) out.block(`if (all || ${a} != 0.0)`, added);
        else added();
      });
    if (sum.gate === undefined) whole();
    else {
      const scope = names(new Map(), outer, `_g${sum.axis}`);
      writer.values([sum.gate], scope, out, true);
      out.block(`if (${writer.say(sum.gate, scope)})`, whole);
    }
  }
  storeColumns(kernel, t, outer);
}

/** The results of a tile, column by column. `outer`: names of its batch and row. */
function storeColumns(kernel: ProductKernel, { out, writer }: Template, outer: Parameters<Template["writer"]["stores"]>[1]): void {
  const n = kernel.axes[2];
  const columns = Array.from({ length: COLUMNS }, (_, j) => j);
  out.add(`var results = array<f32, ${COLUMNS}>(${columns.map((j) => `acc${j >> 2}.${"xyzw"[j & 3]}`).join(", ")});`);
  out.block(`for (var j = 0; j < ${COLUMNS}; j++)`, () => {
    out.add("let n = n0 + j;");
    const scope = names(new Map([[N, "n"]]), outer);
    kernel.values.forEach((v, i) => {
      if (v.kind === "acc") scope.values.set(i, "results[j]");
    });
    writer.stores(kernel.stores, scope, out, n % COLUMNS === 0 ? undefined : `n < ${n}`);
  });
}
