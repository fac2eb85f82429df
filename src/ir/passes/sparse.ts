/**
 * Which products may skip zeros. Where zeros come from and how they spread is the op table's `sparse` column; nothing else is looked at: an
 * activation that is cut off at zero, its gate, its gradient, a mask on weights, rows of tokens that do not count are all alike.
 *
 * A zero of one operand may be skipped where what it meets on the other side is finite: 0 · ∞ is NaN. A product marked here therefore has a
 * third operand, Σ|other side|: kernels skip nothing in a run in which that is not finite, so that they mean what the interpreter says.
 */
import type { Graph, Node } from "../graph.ts";
import { sizes } from "../graph.ts";
import { make } from "../make.ts";
import { attrsOf, axesOfDot, rowOf, splatOf } from "../ops/index.ts";
import { rebuild, withInputs, withRoots } from "../rebuild.ts";
import type { Pass } from "./pass.ts";

/** Skipping works along a list for each row: with fewer columns, or a shorter sum, making the list costs what it saves. */
const COLUMNS = 32;
const DEPTH = 64;
/** Multiply-adds below which a product is not worth a second kernel. */
const WORK = 1 << 20;

export const sparse: Pass = {
  name: "sparse",
  before: "a flat graph, sizes bound",
  after: "products that may skip zeros say on which side (`zeros`), and have Σ|other side| as a third operand",
  law: "results are equal",
  optional: true,
  run: (graph, context) => {
    const out = markSparse(graph);
    if (out.marked > 0)
      context.note(`${out.marked} ${out.marked === 1 ? "product" : "products"} may skip zeros; how many there are is counted in each run`);
    return out.graph;
  },
};

export function markSparse(graph: Graph): { readonly graph: Graph; readonly marked: number } {
  const zeros = new Map<Node, boolean>();
  const sums = new Map<Node, Node>();
  let marked = 0;
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => {
      const out = rowOf(n).role === "product" ? product(n, inputs) : withInputs(n, inputs);
      zeros.set(
        out,
        hasZeros(out, (x) => zeros.get(x) ?? false),
      );
      return out;
    },
  );
  function product(n: Node, inputs: readonly Node[]): Node {
    const side = sideOf(n, inputs, (x) => zeros.get(x) ?? false);
    if (side === undefined) return withInputs(n, inputs);
    const other = inputs[side === "lhs" ? 1 : 0];
    // the forward half keeps a sum of its own: it may not read one of the backward half
    let sum = sums.get(other);
    if (sum === undefined || (sum.backward && !n.backward)) {
      const origin = other.backward ? n.origin : { ...n.origin, half: undefined };
      sum = make("reduce_sum", [make("abs", [other], {}, origin)], { axes: sizes(other).map((_, i) => i) }, origin);
      sums.set(other, sum);
    }
    marked++;
    return make("dot", [inputs[0], inputs[1], sum], { ...attrsOf(n, "dot"), zeros: side }, n.origin);
  }
  return { graph: withRoots(graph, roots), marked };
}

/** Whether some elements of a node may be zero by the way it is made. `of`: the same of its operands. */
function hasZeros(n: Node, of: (x: Node) => boolean): boolean {
  const row = rowOf(n);
  // a mask is handed in because something is off
  if (row.supply !== undefined) return n.type.dtype === "bool";
  // sums of some zeros and other numbers are not zero
  if (row.role === "product" || row.role === "reduce" || row.role === "scan") return false;
  const { any = [], all = [], makes } = row.sparse ?? {};
  if (any.some((i) => of(n.inputs[i]))) return true;
  if (all.length > 0 && all.every((i) => of(n.inputs[i]))) return true;
  if (makes === "beside zero") return n.attrs.value === 0 || all.some((i) => splatOf(n.inputs[i]) === 0);
  return makes === "always";
}

/** The operand whose zeros are worth skipping, if one is: the left one where both are. */
function sideOf(n: Node, inputs: readonly Node[], of: (x: Node) => boolean): "lhs" | "rhs" | undefined {
  const axes = axesOfDot(n);
  if (!axes) return undefined;
  const count = (x: Node, list: readonly number[]) => list.reduce((p, i) => p * sizes(x)[i], 1);
  const depth = count(inputs[0], axes.lhsContract);
  const [rows, columns] = [count(inputs[0], axes.lhsFree), count(inputs[1], axes.rhsFree)];
  if (depth < DEPTH || count(inputs[0], axes.lhsBatch) * rows * columns * depth < WORK) return undefined;
  if (columns >= COLUMNS && of(inputs[0])) return "lhs";
  if (rows >= COLUMNS && of(inputs[1])) return "rhs";
  return undefined;
}
