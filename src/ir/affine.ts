/**
 * What a value is as a function of rows: whether y[r] = x[r] · linear + constant for every row r of x, and both parts as graphs without x. Decided
 * from the rows of the op table, never by trying. With it an attachment on a product is folded into the product's weights.
 */
import { linearIn } from "./accumulate/linear.ts";
import { bind } from "./bind.ts";
import { Builder } from "./build.ts";
import { type Dim, mulDim, sameDim, sameShape, symbol, symbolsOf } from "./dim.ts";
import { type Node, order } from "./graph.ts";
import { remake } from "./make.ts";
import { attrsOf, axesOfDot, castTo, isConst, isExpand, isGather, isReshape, isWhere, permuteOrder, rowOf, splatOf } from "./ops/index.ts";

/** Rows of x: its first axis. No other size may mention this symbol. */
export const ROWS = "rows#";

/** The parts of y. `undefined`: zero. */
export interface Affine {
  /** [n, ...rest]: what row i of the identity gives. Of whole-number x: [n, ...rest], y at each of 0..n−1. */
  readonly linear: Node | undefined;
  /** [1, ...rest]: y at zero. */
  readonly constant: Node | undefined;
}

/** Why a value is no affine function of the rows: the node that prevents it. */
export class NotAffine extends Error {
  override readonly name = "NotAffine";
  constructor(
    readonly node: Node,
    readonly why: "not linear" | "mixes rows" | "by position",
  ) {
    super(why);
  }
}

/** Takes y apart as a function of the f32 rows of x, [ROWS, n]. Throws `NotAffine`. */
export function affine(y: Node, x: Node): Affine {
  const moving = movingNodes(y, x, (n, at) => groupOf(n, at) !== undefined);
  if (!moving.has(y)) {
    if (!isSteady(y, new Map())) throw new NotAffine(y, "by position");
    return { linear: undefined, constant: boundTo([y], 1).get(y)! };
  }
  return { linear: linearPart(y, x, moving), constant: constantPart(y, x, moving) };
}

/** y at each of the whole numbers 0..n−1, as rows: x is i32 [ROWS], and y a function of each by itself. Throws `NotAffine`. */
export function tabulate(y: Node, x: Node, n: number): Affine {
  const moving = movingNodes(y, x, () => true);
  if (!moving.has(y)) throw new NotAffine(y, "by position");
  const b = new Builder(y.origin);
  const bound = boundTo(order([y]), n);
  const all = b.iota([n], 0);
  const known = new Map<Node, Node>();
  for (const m of order([y])) {
    if (m === x) known.set(m, all);
    else if (!moving.has(m)) known.set(m, bound.get(m)!);
    else {
      const inputs = m.inputs.map((i) => known.get(i)!);
      if (rowOf(m).role === "barrier") known.set(m, inputs[0]);
      else if (isGather(m) && inputs[1] === all && inputs[0].type.shape[0] === n) known.set(m, inputs[0]);
      else if (isWhere(m) && inputs[1] === inputs[2]) known.set(m, inputs[1]);
      else known.set(m, remake(m, inputs, bound.get(m)!.attrs));
    }
  }
  return { linear: known.get(y)!, constant: undefined };
}

/** The nodes between x and y, after checking that each keeps rows apart and may depend on x as it does. */
function movingNodes(y: Node, x: Node, allowed: (n: Node, moving: readonly number[]) => boolean): Set<Node> {
  const moving = new Set<Node>([x]);
  const steady = new Map<Node, boolean>();
  for (const n of order([y])) {
    const at = n.inputs.flatMap((input, i) => (moving.has(input) ? [i] : []));
    if (at.length === 0) continue;
    moving.add(n);
    if (!allowed(n, at)) throw new NotAffine(n, "not linear");
    if (!keepsRows(n, at)) throw new NotAffine(n, "mixes rows");
    for (const [i, input] of n.inputs.entries()) if (!at.includes(i) && !isSteady(input, steady)) throw new NotAffine(input, "by position");
  }
  return moving;
}

const ofRows = (d: Dim): boolean => symbolsOf(d).includes(ROWS);

/** The axis of the rows, where exactly one is theirs. */
function rowAxis(n: Node): number | undefined {
  const at = n.type.shape.flatMap((d, i) => (ofRows(d) ? [i] : []));
  return at.length === 1 && sameDim(n.type.shape[at[0]], symbol(ROWS)) ? at[0] : undefined;
}

function keepsRows(n: Node, at: readonly number[]): boolean {
  const { role } = rowOf(n);
  const axis = rowAxis(n);
  if (axis === undefined || role === "region" || role === "placeholder" || role === "host") return false;
  // of what data chooses, only the choice of a row for each x leaves rows apart
  if (role === "index") return isGather(n) && !at.includes(0);
  if (role === "scan") return n.attrs.axis !== axis;
  if (isReshape(n)) return reshapeKeeps(n);
  const axes = axesOfDot(n);
  if (axes) return at.length === 1 && (at[0] === 0 ? axes.lhsFree : axes.rhsFree).includes(rowAxis(n.inputs[at[0]])!);
  return true;
}
/** Whether a reshape leaves the axis of the rows where it is: as many elements lie in front of it as before. */
function reshapeKeeps(n: Node): boolean {
  const [before, after] = [rowAxis(n.inputs[0]), rowAxis(n)];
  if (before === undefined || after === undefined) return false;
  const front = (shape: readonly Dim[], axis: number) => shape.slice(0, axis).reduce(mulDim, 1);
  return sameDim(front(n.inputs[0].type.shape, before), front(n.type.shape, after));
}

/** Whether a value that does not depend on x is the same for all rows. */
function isSteady(n: Node, known: Map<Node, boolean>): boolean {
  let steady = known.get(n);
  if (steady === undefined) {
    steady = decideSteady(n, known);
    known.set(n, steady);
  }
  return steady;
}
function decideSteady(n: Node, known: Map<Node, boolean>): boolean {
  const { role, scalar } = rowOf(n);
  if (isConst(n)) return !attrsOf(n, "const").data.some(ofRows) && (splatOf(n) !== undefined || !n.type.shape.some(ofRows));
  const inputs = n.inputs.every((i) => isSteady(i, known));
  if (!n.type.shape.some(ofRows)) return inputs && !n.inputs.some((i) => i.type.shape.some(ofRows));
  const kept = scalar !== undefined || role === "barrier" || isExpand(n) || permuteOrder(n) !== undefined;
  return inputs && (kept || (isReshape(n) && reshapeKeeps(n)));
}

/** The operands in which together the node is linear up to a constant, those at `moving` among them. */
function groupOf(n: Node, moving: readonly number[]): readonly number[] | undefined {
  const { role, linear } = rowOf(n);
  const all = n.inputs.map((_, i) => i);
  if (castTo(n) !== undefined) return castTo(n) === "f32" ? all : undefined;
  if (linear === "all" || role === "sum" || role === "move" || role === "barrier") return all;
  const group = linear?.find((g) => moving.every((i) => g.includes(i)));
  if (group) return group;
  return role === "scale" && moving.every((i) => i === 0) ? [0] : undefined;
}

/** `nodes` with a number in the place of the rows. */
function boundTo(nodes: readonly Node[], rows: number): ReadonlyMap<Node, Node> {
  const { results } = bind({ results: nodes.map((node, i) => ({ role: "output" as const, name: `${i}`, node })) }, new Map([[ROWS, rows]]));
  return new Map(nodes.map((n, i) => [n, results[i].node]));
}

/** y at x = 0. */
function constantPart(y: Node, x: Node, moving: ReadonlySet<Node>): Node | undefined {
  const bound = boundTo(order([y]), 1);
  const known = new Map<Node, Node | undefined>();
  for (const n of order([y])) {
    if (!moving.has(n)) known.set(n, bound.get(n)!);
    else if (n !== x) {
      const at = n.inputs.flatMap((i, k) => (moving.has(i) ? [k] : []));
      const zero = at.every((k) => known.get(n.inputs[k]) === undefined) && linearIn(n, at);
      known.set(
        n,
        zero
          ? undefined
          : combined(
              bound.get(n)!,
              n.inputs.map((i) => known.get(i)),
            ),
      );
    }
  }
  return known.get(y);
}

/** Rows of the identity as they come through: `scaled` holds what is still the identity, its rows times a vector. */
function linearPart(y: Node, x: Node, moving: ReadonlySet<Node>): Node | undefined {
  const n = x.type.shape[1] as number;
  const nodes = order([y]);
  const bound = boundTo(nodes, n);
  const rows = boundTo(nodes, 1);
  const full = new Map<Node, Node | undefined>();
  const scaled = new Map<Node, Node>();
  const b = new Builder(y.origin);
  const identity = (d: Node): Node => b.mul(b.cast(b.eq(b.iota([n, n], 0), b.iota([n, n], 1)), "f32"), d);
  const shaped = (v: Node, m: Node): Node =>
    sameShape(v.type.shape, bound.get(m)!.type.shape) ? v : b.reshape(v, bound.get(m)!.type.shape);
  const tangent = (m: Node): Node | undefined => {
    const d = scaled.get(m);
    if (d && !full.has(m)) full.set(m, shaped(identity(d), m));
    return full.get(m);
  };
  scaled.set(x, b.constant(1, "f32", [n]));
  for (const m of nodes) {
    if (!moving.has(m) || m === x) continue;
    const at = m.inputs.flatMap((i, k) => (moving.has(i) ? [k] : []));
    const group = groupOf(m, at)!;
    const d = at.map((k) => scaled.get(m.inputs[k]));
    const { role, scalar } = rowOf(m);
    const axes = axesOfDot(m);
    if (at.every((k) => !scaled.has(m.inputs[k]) && full.get(m.inputs[k]) === undefined)) full.set(m, undefined);
    else if (d[0] && isReshape(m) && m.type.shape.at(-1) === n) scaled.set(m, d[0]);
    else if (d.every((v) => v !== undefined) && (scalar !== undefined || role === "barrier")) {
      // elementwise and linear in these: what it does to the diagonal is all it does
      const inputs = m.inputs.map((i, k) =>
        scaled.get(i) && at.includes(k) ? scaled.get(i) : group.includes(k) ? undefined : b.reshape(rows.get(i)!, [n]),
      );
      const made = combined(m, inputs);
      if (made) scaled.set(m, made);
      else full.set(m, undefined);
    } else if (axes && d[0] && axes.lhsContract.length === 1 && axes.lhsBatch.length === 0) {
      const other = bound.get(m.inputs[1])!;
      const turned = b.permute(other, [...axes.rhsContract, ...axes.rhsFree]);
      full.set(m, shaped(splatOf(d[0]) === 1 ? turned : b.mul(turned, b.reshape(d[0], [n, ...axes.rhsFree.map(() => 1)])), m));
    } else
      full.set(
        m,
        combined(
          withoutPadding(bound.get(m)!),
          m.inputs.map((i, k) => (at.includes(k) ? tangent(i) : group.includes(k) ? undefined : bound.get(i)!)),
        ),
      );
  }
  return tangent(y);
}

/** What a shape is filled up with is constant. */
function withoutPadding(n: Node): Node {
  return rowOf(n).role === "move" && n.attrs.value !== undefined ? { ...n, attrs: { ...n.attrs, value: 0 } } : n;
}

/** The node on other operands; `undefined` ones are zero, and what is zero is left out. */
function combined(n: Node, given: readonly (Node | undefined)[]): Node | undefined {
  const { role, algebra, linear } = rowOf(n);
  const inputs = given.map((i) => (i !== undefined && splatOf(i) === 0 ? undefined : i));
  if (inputs.every((i) => i === undefined) && !(role === "move" && n.attrs.value)) return undefined;
  if (role === "sum" && algebra?.identity === 0 && inputs.length === 2) {
    if (inputs[1] === undefined) return inputs[0];
    if (inputs[0] === undefined && algebra.commutative) return inputs[1];
  }
  if (role === "barrier") return inputs[0];
  if (role === "product" && inputs.some((i) => i === undefined)) return undefined;
  if (role === "scale" && (inputs[0] === undefined || (linear !== undefined && inputs.some((i) => i === undefined)))) return undefined;
  const like = inputs.find((i) => i !== undefined);
  const b = new Builder(n.origin);
  const filled = inputs.map((i, k) => {
    if (i) return i;
    // elementwise operands all have one shape, which may be that of a diagonal
    const { dtype, shape } = n.inputs[k].type;
    return b.zeros({ dtype, shape: rowOf(n).scalar !== undefined && like ? like.type.shape : shape });
  });
  return remake(n, filled);
}

/** Which parameter a node is, moved about in ways that can be undone, and what it must be for the node to be `value`. */
export function solveFor(node: Node, value: Node): { readonly param: string; readonly value: Node } | undefined {
  let [at, wanted] = [node, value];
  while (rowOf(at).supply !== "param") {
    // moved about in the same way: nothing needs to be undone
    if (at.inputs.length === 1 && sameMove(at, wanted)) {
      [at, wanted] = [at.inputs[0], wanted.inputs[0]];
      continue;
    }
    const { role, invert, algebra } = rowOf(at);
    const [below] = at.inputs;
    if (below === undefined) return undefined;
    if (isExpand(at) && sameShape(below.type.shape, at.type.shape)) at = below;
    else if (role === "barrier") at = below;
    else if (role === "move" && at.inputs.length === 1 && invert) {
      wanted = invert(new Builder(at.origin), at, 0, wanted)!;
      at = below;
    } else if (algebra?.identity !== undefined && isIdentity(at.inputs[1], algebra.identity)) at = below;
    else return undefined;
  }
  return { param: String(at.attrs.name), value: wanted };
}

const sameMove = (a: Node, b: Node): boolean =>
  rowOf(a).role === "move" &&
  a.op === b.op &&
  sameShape(a.inputs[0].type.shape, b.inputs[0].type.shape) &&
  JSON.stringify(a.attrs) === JSON.stringify(b.attrs);

const isIdentity = (n: Node, value: number): boolean => splatOf(n) === value;
