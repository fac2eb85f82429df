/**
 * Products that are added up: one kernel goes on with the same accumulator from one to the next, so that only their sum is ever stored. What is
 * asked of the graph is that each product is used once, and that additions and views alone lie between it and the sum.
 */
import type { Node } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { isPlus, splat } from "../../ir/passes/rules/facts.ts";
import { type DotShape, dotShape } from "./dots.ts";
import { add, axisIndex, type Index, scale, substitute } from "./index.ts";
import { isView } from "./roots.ts";
import { Misfit } from "./space.ts";

/** Who reads a node, and whether its value is a result. */
export interface Uses {
  users(n: Node): readonly Node[];
  isResult(n: Node): boolean;
}

/** Whether a node is one operand where a condition holds, and 0 elsewhere. */
export const isGate = (n: Node): boolean => rowOf(n).scalar === "where" && splat(n.inputs[2]) === 0 && n.inputs[0] !== n.inputs[1];

/** From a product to the last node that is still a sum with it: each but the last is used once. `gated`: its rows may be chosen on the way. */
function climb(n: Node, uses: Uses, gated: boolean): Node[] {
  const path = [n];
  for (;;) {
    const users = uses.users(n);
    if (users.length !== 1 || uses.isResult(n)) return path;
    const [user] = users;
    const gate = gated && isGate(user) && user.inputs[1] === n;
    if (!gate && !isView(user) && !(isPlus(user) && user.inputs[0] !== user.inputs[1])) return path;
    path.push(user);
    n = user;
  }
}

/** The sum that two products are both added to and to nothing else, the second perhaps in some rows only; `undefined` if there is none. */
export function commonSum(a: Node, b: Node, uses: Uses): Node | undefined {
  const others = new Set(climb(b, uses, true).slice(1));
  return climb(a, uses, false).find((n, i) => i > 0 && isPlus(n) && others.has(n));
}

/** Which nodes add nothing once `addends` are part of the accumulator: these, their views, rows chosen of them, and sums of such. */
export class Vanishing {
  private readonly known = new Map<Node, boolean>();
  constructor(private readonly addends: ReadonlySet<Node>) {}

  has(n: Node): boolean {
    if (this.addends.size === 0) return false;
    let out = this.known.get(n);
    if (out === undefined) {
      if (this.addends.has(n)) out = true;
      else if (isView(n)) out = this.has(n.inputs[0]);
      else if (isGate(n)) out = this.has(n.inputs[1]);
      else out = isPlus(n) && n.inputs.every((x) => this.has(x));
      this.known.set(n, out);
    }
    return out;
  }
  /** Of a sum with one operand that adds nothing: the other. */
  rest(n: Node): Node | undefined {
    if (this.addends.size === 0 || !isPlus(n)) return undefined;
    const [x, y] = n.inputs;
    if (this.has(x) === this.has(y)) return undefined;
    return this.has(x) ? y : x;
  }
}

/** Packing another matrix for each of a batch pays from this many rows on. */
const ROWS = 64;
/** Sums this long leave a packed block of the right side its room. */
const LONG = 4096;
/** A product this long gains nothing by being joined to one that is as long: what is saved is one store and one load for each result. */
const THIN = 512;

/** Whether sums of these lengths are worth one kernel; the first is the longest. */
export const worthOne = (lengths: readonly number[]): boolean => {
  const all = lengths.reduce((a, b) => a + b, 0);
  return all <= LONG || all - lengths[0] <= THIN;
};

/** Shapes of products that are added up, over the same batch, rows and columns. Throws `Misfit`. */
export function alignedShapes(dots: readonly Node[]): DotShape[] {
  const shapes = dots.map(dotShape);
  const batch = Math.max(...shapes.map((s) => s.axes[0]));
  return shapes.map((s) => inBatches(s, batch));
}

/** The product cut into `batch` products of as many rows each. */
function inBatches(shape: DotShape, batch: number): DotShape {
  const [own, m, n, k] = shape.axes;
  if (own === batch) return shape;
  const rows = m / batch;
  if (own !== 1 || !Number.isInteger(rows) || rows < ROWS) throw new Misfit("sums over other batches");
  const axes = [batch, rows, n, k] as const;
  const moved = (i: Index) => substitute(i, (a) => (a === 1 ? add(scale(axisIndex(0), rows), axisIndex(1)) : axisIndex(a)), axes);
  return { axes, out: shape.out.map(moved), lhs: shape.lhs.map(moved), rhs: shape.rhs.map(moved) };
}
