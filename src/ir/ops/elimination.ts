/** Gauss–Jordan elimination as a loop of ordinary ops, for systems that have to be solved in every step. */
import type { Builder } from "../build.ts";
import { addDim, type Dim, sameDim } from "../dim.ts";
import { Bug } from "../errors.ts";
import type { Node } from "../graph.ts";

/**
 * X with a·X = rhs, stacks of n × n systems side by side. Iteration j clears column j of [a | rhs] but for its pivot, the largest element of
 * the column among rows that have not been one; which row that was is kept as row j of a permutation, which sorts the result at the end.
 */
export function eliminate(b: Builder, a: Node, rhs: Node): Node {
  const rank = a.type.shape.length;
  const lead = a.type.shape.slice(0, -2);
  const n = a.type.shape[rank - 1];
  if (typeof n !== "number") throw new Bug(`the size ${n} of a system of equations is not bound yet`);
  const width = addDim(n, rhs.type.shape[rank - 1]);
  const f32 = (shape: readonly Dim[]) => ({ dtype: "f32" as const, shape });
  const params = [
    b.arg(0, f32([...lead, n, width])),
    b.arg(1, f32([...lead, n])),
    b.arg(2, f32([...lead, n, n])),
    b.arg(3, { dtype: "i32", shape: [] }),
  ];
  const [m, used, order, iteration] = params;
  const at = (size: Dim) => b.cast(b.eq(b.iota([size], 0), iteration), "f32");
  const rows = (x: Node) => b.reshape(x, [...x.type.shape, 1]);
  const columns = (x: Node) => b.reshape(x, [...x.type.shape.slice(0, -1), 1, x.type.shape[x.type.shape.length - 1]]);
  const column = b.reduce("sum", b.mul(m, at(width)), [-1]);
  const candidate = b.where(b.compare("gt", used, 0), -1, b.unary("abs", column));
  const best = b.argmax(candidate, -1);
  const hit = b.cast(b.eq(b.iota([...lead, n], rank - 2), rows(best)), "f32");
  const row = b.reduce("sum", b.mul(m, rows(hit)), [-2]);
  const pivot = b.reduce("sum", b.mul(column, hit), [-1], true);
  const results = [
    b.sub(m, b.mul(rows(b.sub(column, hit)), columns(b.div(row, pivot)))),
    b.add(used, hit),
    b.add(order, b.mul(rows(at(n)), columns(hit))),
  ];
  const start = [b.concat([a, rhs], rank - 1), b.zeros(f32([...lead, n])), b.zeros(f32([...lead, n, n]))];
  const iterations = Array.from({ length: n }, (_, j) => ({ body: 0, args: [j] }));
  const loop = b.loop([...start, ...iterations.map((_, j) => b.constant(j, "i32"))], {
    carried: 3,
    bodies: [{ params, results }],
    iterations,
  });
  const solved = b.matmul(b.carried(loop, 2), b.sliceAxis(b.carried(loop, 0), rank - 1, n, width));
  if (!solved.type.shape.every((d, i) => sameDim(d, rhs.type.shape[i])))
    throw new Bug("the solution of a system has another shape than its right side");
  return solved;
}
