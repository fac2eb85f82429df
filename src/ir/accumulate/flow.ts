/** How the rows of a batch go through one node. */
import { type Dim, mulDim, sameDim } from "../dim.ts";
import type { Node } from "../graph.ts";
import {
  attrsOf,
  axesOfDot,
  castTo,
  foldedAxes,
  iotaAxis,
  isExpand,
  isGather,
  isReshape,
  passedAxes,
  readsOf,
  rowOf,
  splatOf,
  summedAxes,
} from "../ops/index.ts";

/** The result has the rows on an axis, sums over them, or does something else with them: `why`, as "it ...". */
type Flow = { readonly axis: number } | { readonly sum: true } | { readonly why: string };

const PAIRS = "pairs rows of the batch with each other";
const MIXES = "mixes rows of the batch";

/**
 * `at`: for each operand the axis that its rows are on, -1 where it has none; at least one has. An axis of size `B · n` holds B rows of n
 * elements each, one behind the other. `isPlaced`: whether a value depends on the places of rows in their batch.
 */
export function flowOf(n: Node, at: readonly number[], holds: (d: Dim) => boolean, isPlaced: (n: Node) => boolean): Flow {
  const axes = n.type.shape.flatMap((d, i) => (holds(d) ? [i] : []));
  if (axes.length > 1) return { why: PAIRS };
  const { role } = rowOf(n);
  switch (role) {
    case "map":
    case "sum":
    case "scale":
    case "barrier":
      return { axis: at.find((a) => a >= 0)! };
    case "move":
      return moved(n, at);
    case "reduce": {
      const over = foldedAxes(n);
      if (!over.includes(at[0])) return { axis: at[0] - over.filter((a) => a < at[0]).length };
      return summedAxes(n) ? { sum: true } : { why: "takes the largest or smallest over rows of the batch" };
    }
    case "product":
      return contracted(n, at);
    case "scan":
      return n.attrs.axis === undefined || n.attrs.axis === at[0] ? { why: "goes over rows of the batch in their order" } : { axis: at[0] };
    case "index":
      return indexed(n, at, holds, isPlaced);
    default:
      return { why: MIXES };
  }
}

function moved(n: Node, at: readonly number[]): Flow {
  const [axis] = at;
  const from = n.inputs[0].type.shape;
  const reads = readsOf(n);
  if (reads === "in order") {
    // Rows stay rows where as many elements lie before their axis as did.
    const before = (shape: readonly Dim[], end: number) => shape.slice(0, end).reduce(mulDim, 1 as Dim);
    const lead = before(from, axis);
    const to = n.type.shape.findIndex((d, i) => sameDim(before(n.type.shape, i), lead) && !sameDim(d, 1));
    return to < 0 ? { why: MIXES } : { axis: to };
  }
  const passed = passedAxes(n);
  const to = passed.findIndex((axes) => axes !== "changed" && at.every((a, i) => axes[i] === a));
  if (to >= 0) return { axis: to };
  if (n.inputs.length > 1) return { why: "puts batches one behind the other" };
  return { why: n.attrs.value === undefined ? "takes some rows of the batch" : "adds rows to the batch" };
}

function contracted(n: Node, [a, c]: readonly number[]): Flow {
  const { lhsBatch, rhsBatch, lhsContract, rhsContract } = axesOfDot(n)!;
  const free = (operand: number, used: readonly number[]) => n.inputs[operand].type.shape.flatMap((_, i) => (used.includes(i) ? [] : [i]));
  const lhsFree = free(0, [...lhsBatch, ...lhsContract]);
  const rhsFree = free(1, [...rhsBatch, ...rhsContract]);
  if (a >= 0 && c >= 0) {
    const place = lhsContract.indexOf(a);
    if (place >= 0 && place === rhsContract.indexOf(c)) return { sum: true };
    const batch = lhsBatch.indexOf(a);
    return batch >= 0 && batch === rhsBatch.indexOf(c) ? { axis: batch } : { why: PAIRS };
  }
  if (a >= 0) return { axis: lhsBatch.length + lhsFree.indexOf(a) };
  return { axis: lhsBatch.length + lhsFree.length + rhsFree.indexOf(c) };
}

function indexed(n: Node, at: readonly number[], holds: (d: Dim) => boolean, isPlaced: (n: Node) => boolean): Flow {
  if (isGather(n)) {
    const [x, index] = at;
    const rank = n.inputs[1].type.shape.length;
    if (x < 0) return { axis: index };
    if (x > 0 && index < 0) return { axis: rank - 1 + x };
    if (x === 0 && index >= 0 && readsOwnRow(n.inputs[1], index, n.inputs[0].type.shape[0], holds, isPlaced)) return { axis: index };
    return { why: "looks up rows of the batch" };
  }
  if (n.attrs.rows !== undefined) {
    const [index, updates] = at;
    const rank = n.inputs[0].type.shape.length;
    if (holds(attrsOf(n, "scatter_add").rows)) return { why: "puts values into rows of the batch" };
    if (index >= 0) return index === updates ? { sum: true } : { why: PAIRS };
    return updates >= rank ? { axis: 1 + updates - rank } : { why: MIXES };
  }
  return at[0] >= 0 && at[0] === at[2] && n.attrs.axis !== at[0] ? { axis: at[0] } : { why: MIXES };
}

/**
 * Whether an index into B · n elements is `row · n + place in the row`: `x[arange(B), place]`, flattened. Places that lie in another row
 * would be the program's mistake.
 */
function readsOwnRow(index: Node, axis: number, size: Dim, holds: (d: Dim) => boolean, isPlaced: (n: Node) => boolean): boolean {
  const rows = index.type.shape[axis];
  if (sameDim(rows, size) && isRowNumber(index, holds)) return true;
  if (rowOf(index).role !== "sum") return false;
  return index.inputs.some((scaled, i) => {
    if (rowOf(scaled).role !== "scale" || isPlaced(index.inputs[1 - i])) return false;
    return scaled.inputs.some((row, j) => {
      const by = splatOf(scaled.inputs[1 - j] ?? row);
      return by !== undefined && sameDim(mulDim(by, rows), size) && isRowNumber(row, holds);
    });
  });
}

/** The number of the row that an element is in. */
function isRowNumber(n: Node, holds: (d: Dim) => boolean): boolean {
  const axis = iotaAxis(n);
  if (axis !== undefined) return holds(n.type.shape[axis]);
  return (isReshape(n) || isExpand(n) || castTo(n) !== undefined) && isRowNumber(n.inputs[0], holds);
}
