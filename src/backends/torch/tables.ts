/**
 * What is made of numbers alone and is dear to compute, such as the angles of rotary positions: computed once, when the program is opened, and read like a state. The
 * rows of a batch are open here, and what has them because it was repeated for each is computed for one.
 */
import { Builder } from "../../ir/build.ts";
import { type Dim, mulDim, sameDim } from "../../ir/dim.ts";
import { type Graph, type Node, node, order } from "../../ir/graph.ts";
import { iotaAxis, isConst, isExpand, isReshape, permuteOrder, rowOf, splatOf } from "../../ir/ops/index.ts";
import { rebuild, rebuildGraph, withInputs, withRoots } from "../../ir/rebuild.ts";
import { Scope } from "../../ir/rewrite.ts";
import { isWorthATable } from "../load.ts";

/** Names of tables begin so; no state's does. */
const TABLES = "tables/";
export const isTable = (name: string): boolean => name.startsWith(TABLES);

const isOpen = (d: Dim): boolean => typeof d !== "number";
const b = new Builder({ path: "" });

/** A graph in which what is made of numbers alone, is dear, and is repeated for each row, is made for one row and repeated where it is read. `kept`: what stays. */
export function forOneRow(graph: Graph, kept: ReadonlySet<Node>): Graph {
  const roots = graph.results.map((r) => r.node);
  const plain = new Set<Node>();
  const dear = new Set<Node>();
  for (const n of order(roots)) {
    const { supply, role } = rowOf(n);
    if (kept.has(n) || supply !== undefined || role === "region" || !n.inputs.every((i) => plain.has(i))) continue;
    plain.add(n);
    if (isWorthATable(n) || n.inputs.some((i) => dear.has(i))) dear.add(n);
  }
  const one = slimming();
  const known = new Map<Node, Node>();
  const widen = (n: Node) => {
    if (!dear.has(n) || known.has(n) || !n.type.shape.some(isOpen)) return;
    const slim = one(n);
    if (slim !== undefined) known.set(n, b.expand(slim, n.type.shape));
    else for (const i of n.inputs) widen(i);
  };
  for (const n of order(roots)) if (!plain.has(n)) for (const i of n.inputs) widen(i);
  if (known.size === 0) return graph;
  const out = rebuild(roots, known);
  return withRoots(graph, out);
}

/**
 * A graph that reads tables in the place of parameters of their names; a table, and each way in which it is turned and repeated, is one node. It belongs to no iteration of
 * a loop. `stands`: tables, and what is written out in their place.
 */
export function readingTables(graph: Graph, stands: ReadonlyMap<string, Node>): Graph {
  const scope = new Scope();
  const tables = new Set<Node>();
  return rebuildGraph(graph, new Map(), (n, inputs) => {
    const stand = rowOf(n).supply === "param" ? stands.get(String(n.attrs.name)) : undefined;
    if (stand !== undefined && rowOf(stand).supply === undefined) return stand;
    const made = stand ?? withInputs(n, inputs);
    if (stand === undefined && (inputs.length !== 1 || !tables.has(inputs[0]) || rowOf(n).role !== "move")) return made;
    const path = stand === undefined ? inputs[0].origin.path : String(stand.attrs.name).slice(TABLES.length);
    const shared = scope.intern(node(made.op, made.inputs, made.attrs, made.type, { path }));
    tables.add(shared);
    return shared;
  });
}

/** What a table is called: by the function that makes it dear. */
export function tableName(n: Node): string {
  const dear = order([n]).findLast(isWorthATable);
  return `${TABLES}${(dear ?? n).op}`;
}

/** Gives a node with its open axes of size 1; `undefined` where it differs along one, or may. */
function slimming(): (n: Node) => Node | undefined {
  const known = new Map<Node, Node | undefined>();
  const one = (n: Node): Node | undefined => {
    if (!n.type.shape.some(isOpen)) return n;
    if (!known.has(n)) known.set(n, slim(n, one));
    return known.get(n);
  };
  return one;
}

function slim(n: Node, one: (n: Node) => Node | undefined): Node | undefined {
  const shape = n.type.shape.map((d) => (isOpen(d) ? 1 : d));
  const counted = iotaAxis(n);
  if (counted !== undefined) return isOpen(n.type.shape[counted]) ? undefined : b.iota(shape, counted);
  const splat = splatOf(n);
  if (isConst(n) && typeof splat === "number") return b.constant(splat, n.type.dtype, shape);
  const inputs = n.inputs.map(one);
  if (n.inputs.length === 0 || !inputs.every((i) => i !== undefined)) return undefined;
  if (isExpand(n)) return b.expand(inputs[0], shape);
  if (isReshape(n)) return keepsRows(n) ? b.reshape(inputs[0], shape) : undefined;
  const by = permuteOrder(n);
  if (by !== undefined) return b.permute(inputs[0], by);
  return rowOf(n).scalar === undefined ? undefined : node(n.op, inputs, n.attrs, { ...n.type, shape }, n.origin);
}

/** Whether a reshape leaves its one open axis an axis of its own, at its place in the order of elements. */
function keepsRows(n: Node): boolean {
  const behind = (shape: readonly Dim[]): Dim | undefined => {
    const at = shape.flatMap((d, i) => (isOpen(d) ? [i] : []));
    return at.length === 1 ? shape.slice(at[0] + 1).reduce(mulDim, 1) : undefined;
  };
  const [from, to] = [behind(n.inputs[0].type.shape), behind(n.type.shape)];
  return from !== undefined && to !== undefined && sameDim(from, to);
}
