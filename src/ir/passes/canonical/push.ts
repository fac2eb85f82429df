/** How a demand passes from a node to its operands, by the node's role, and how the node is computed from operands so restricted. */

import type { Builder } from "../../build.ts";
import { type Node, sizes } from "../../graph.ts";
import {
  axesOfDot,
  concatAxis,
  isExpand,
  isGather,
  isReshape,
  type OpName,
  padOf,
  permuteOrder,
  reducedAxes,
  rowOf,
  sliceOf,
} from "../../ops/index.ts";
import { elements, range, sameList } from "../rules/facts.ts";
import { asDemand, axisIsWhole, type Box, boxFrom, boxShape, type Demand, demandedShape, type Rows, whole } from "./demand.ts";

/** A node computed in part. */
export interface Push {
  /** What is computed: covers what was asked. */
  readonly demand: Demand;
  readonly operands: readonly Demand[];
  build(b: Builder, inputs: readonly Node[]): Node;
}

/** A contraction is only cut where that leaves out at least a quarter: odd sizes cost more than a few rows. */
const WORTH = 0.75;

/** `undefined` where the node has to be computed whole. */
export function push(n: Node, asked: Demand): Push | undefined {
  if (n.loop) return undefined;
  const d = asked;
  if (d?.kind === "rows") return pushRows(n, d);
  return pushBox(n, d ?? whole(sizes(n)));
}

function pushBox(n: Node, box: Box): Push | undefined {
  const shape = sizes(n);
  const row = rowOf(n);
  const [x] = n.inputs;
  const slice = sliceOf(n);
  if (slice) {
    // The slice itself is gone: its operand is asked for the slice's elements.
    const inner: Box = {
      kind: "box",
      start: slice.start.map((s, i) => s + box.start[i] * slice.step[i]),
      stop: slice.start.map((s, i) => s + (box.stop[i] - 1) * slice.step[i] + 1),
      step: slice.step.map((s, i) => s * box.step[i]),
    };
    if (boxShape(box).some((size) => size === 0)) return undefined;
    return { demand: asDemand(box, shape), operands: [asDemand(inner, sizes(x))], build: (_b, [y]) => y };
  }
  if (asDemand(box, shape) === undefined) return undefined;
  const plain = (demand: Box, operands: readonly Box[], attrs?: (b: Box) => Node["attrs"]): Push | undefined => {
    const left = asDemand(demand, shape);
    if (!left) return undefined;
    return {
      demand: left,
      operands: operands.map((o, i) => asDemand(o, sizes(n.inputs[i]))),
      build: (b, inputs) => b.make(n.op as OpName, inputs, attrs ? attrs(demand) : n.attrs),
    };
  };
  if (row.scalar || row.role === "barrier")
    return plain(
      box,
      n.inputs.map(() => box),
    );
  if (isExpand(n)) {
    const from = sizes(x);
    return plain(box, [boxFrom(from.map((size, i) => (size === 1 ? 1 : [box, i])))], (made) => ({ shape: boxShape(made) }));
  }
  const order = permuteOrder(n);
  if (order) return plain(box, [boxFrom(range(order.length).map((axis) => [box, order.indexOf(axis)]))]);
  const reduced = reducedAxes(n) ?? (row.role === "reduce" ? [n.attrs.axis as number] : undefined);
  if (reduced) {
    const kept = range(x.type.shape.length).filter((a) => !reduced.includes(a));
    return plain(box, [boxFrom(sizes(x).map((size, a) => (kept.includes(a) ? [box, kept.indexOf(a)] : size)))]);
  }
  const dot = axesOfDot(n);
  if (dot) {
    if (elements(boxShape(box)) > WORTH * elements(shape)) return undefined;
    const sides = [0, 1].map((i) => {
      const batch = i === 0 ? dot.lhsBatch : dot.rhsBatch;
      const free = i === 0 ? dot.lhsFree : dot.rhsFree;
      const first = dot.lhsBatch.length + (i === 0 ? 0 : dot.lhsFree.length);
      return boxFrom(
        sizes(n.inputs[i]).map((size, a) => {
          if (batch.includes(a)) return [box, batch.indexOf(a)];
          return free.includes(a) ? [box, first + free.indexOf(a)] : size;
        }),
      );
    });
    return plain(box, sides);
  }
  if (isReshape(n)) return reshaped(n, box);
  if (isGather(n)) {
    const k = n.inputs[1].type.shape.length;
    const rest = boxFrom(sizes(x).map((size, a) => (a === 0 ? size : [box, k + a - 1])));
    return plain(box, [rest, boxFrom(range(k).map((a) => [box, a]))]);
  }
  const joined = concatAxis(n);
  if (joined !== undefined) return concatenated(n, box, joined);
  const pad = padOf(n);
  if (pad) {
    const free = range(shape.length).filter((a) => pad.low[a] === 0 && pad.high[a] === 0);
    const demand = boxFrom(shape.map((size, a) => (free.includes(a) ? [box, a] : size)));
    return plain(demand, [boxFrom(sizes(x).map((size, a) => (free.includes(a) ? [box, a] : size)))]);
  }
  if (row.role === "scan" && sameList(sizes(x), shape)) {
    const axis = n.attrs.axis as number;
    const demand = boxFrom(shape.map((size, a) => (a === axis ? size : [box, a])));
    return plain(demand, [demand]);
  }
  return undefined;
}

/** Axes that a reshape leaves as they are pass on; those it splits or merges are wanted whole. */
function reshaped(n: Node, box: Box): Push | undefined {
  const to = sizes(n);
  const from = sizes(n.inputs[0]);
  if (elements(to) === 0) return undefined;
  const pairs = new Map<number, number>();
  for (let i = 0, j = 0; i < from.length || j < to.length; ) {
    const [i0, j0] = [i, j];
    let p = i < from.length ? from[i++] : 1;
    let q = j < to.length ? to[j++] : 1;
    while (p !== q) {
      if (p < q) p *= from[i++] ?? 1;
      else q *= to[j++] ?? 1;
    }
    const [mine, its] = [range(j - j0, j0).filter((a) => to[a] !== 1), range(i - i0, i0).filter((a) => from[a] !== 1)];
    if (mine.length === 1 && its.length === 1) pairs.set(mine[0], its[0]);
  }
  const demand = boxFrom(to.map((size, a) => (pairs.has(a) ? [box, a] : size)));
  const left = asDemand(demand, to);
  if (!left) return undefined;
  const back = new Map([...pairs].map(([a, i]) => [i, a]));
  const inner = boxFrom(from.map((size, i) => (back.has(i) ? [demand, back.get(i)!] : size)));
  return { demand: left, operands: [asDemand(inner, from)], build: (b, [x]) => b.reshape(x, boxShape(demand)) };
}

/** Parts that lie outside the box are not joined. */
function concatenated(n: Node, box: Box, axis: number): Push | undefined {
  const shape = sizes(n);
  const cuts = box.step[axis] === 1 && !axisIsWhole(box, axis, shape);
  const demand = boxFrom(shape.map((size, a) => (a === axis && box.step[a] !== 1 ? size : [box, a])));
  const left = asDemand(demand, shape);
  if (!left) return undefined;
  let at = 0;
  const live: boolean[] = [];
  const operands = n.inputs.map((part) => {
    const size = sizes(part)[axis];
    const [from, to] = cuts ? [Math.max(box.start[axis] - at, 0), Math.min(box.stop[axis] - at, size)] : [0, size];
    at += size;
    live.push(from < to);
    const range1: Box = { kind: "box", start: [from], stop: [to], step: [1] };
    return asDemand(boxFrom(sizes(part).map((_, a) => (a === axis ? (from < to ? [range1, 0] : size) : [demand, a]))), sizes(part));
  });
  return {
    demand: left,
    operands,
    build: (b, inputs) =>
      b.concat(
        inputs.filter((_, i) => live[i]),
        axis,
      ),
  };
}

/** Rows pass through what treats each row alike. */
function pushRows(n: Node, rows: Rows): Push | undefined {
  const shape = sizes(n);
  const { lead, index } = rows;
  const row = rowOf(n);
  const [x] = n.inputs;
  const shift = index.type.shape.length - lead;
  const made = demandedShape(rows, shape);
  if (row.scalar || row.role === "barrier")
    return { demand: rows, operands: n.inputs.map(() => rows), build: (b, inputs) => b.make(n.op as OpName, inputs, n.attrs) };
  const move = (axes: readonly number[]) => axes.map((a) => a + shift);
  const reduced = reducedAxes(n) ?? (row.role === "reduce" ? [n.attrs.axis as number] : undefined);
  if (reduced) {
    if (reduced.some((a) => a < lead)) return undefined;
    const attrs = reducedAxes(n) ? { ...n.attrs, axes: move(reduced) } : { ...n.attrs, axis: reduced[0] + shift };
    return { demand: rows, operands: [rows], build: (b, [y]) => b.make(n.op as OpName, [y], attrs) };
  }
  const order = permuteOrder(n);
  if (order) {
    if (!range(lead).every((a) => order[a] === a)) return undefined;
    return {
      demand: rows,
      operands: [rows],
      build: (b, [y]) => b.permute(y, [...range(index.type.shape.length), ...move(order.slice(lead))]),
    };
  }
  if (isExpand(n)) {
    const from = sizes(x);
    if (range(lead).every((a) => from[a] === 1)) {
      // The same in all rows: nothing has to be chosen.
      return {
        demand: rows,
        operands: [undefined],
        build: (b, [y]) => b.expand(b.reshape(y, [...index.type.shape.map(() => 1), ...from.slice(lead)]), made),
      };
    }
    if (!range(lead).every((a) => from[a] === shape[a])) return undefined;
    return { demand: rows, operands: [rows], build: (b, [y]) => b.expand(y, made) };
  }
  if (isReshape(n)) {
    const from = sizes(x);
    const total = elements(shape.slice(0, lead));
    let k = 0;
    let product = 1;
    while (k < from.length && product < total) product *= from[k++];
    if (product !== total) return undefined;
    return { demand: rows, operands: [{ kind: "rows", index, lead: k }], build: (b, [y]) => b.reshape(y, made) };
  }
  const dot = axesOfDot(n);
  if (dot && dot.lhsBatch.length === 0 && range(lead).every((a) => dot.lhsFree[a] === a)) {
    if (elements(made) > WORTH * elements(shape)) return undefined;
    return {
      demand: rows,
      operands: [rows, undefined],
      build: (b, [l, r]) => b.dot(l, r, { lhsContract: move(dot.lhsContract), rhsContract: dot.rhsContract }),
    };
  }
  return undefined;
}

/** What a gather asks of its operand, if that is less than it has. */
export function rowsOf(n: Node): Rows | undefined {
  if (!isGather(n)) return undefined;
  const [x, index] = n.inputs;
  return elements(sizes(index)) < WORTH * sizes(x)[0] ? { kind: "rows", index, lead: 1 } : undefined;
}
