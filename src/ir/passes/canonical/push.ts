/** How a demand passes from a node to its operands, by the node's role, and how the node is computed from operands so restricted. */

import type { Builder } from "../../build.ts";
import { type Node, sizes } from "../../graph.ts";
import { bound } from "../../ops/bound.ts";
import {
  attrsOf,
  axesOfDot,
  foldedAxes,
  isGather,
  isReshape,
  joinedAxis,
  led,
  type OpName,
  passedAxes,
  readsOf,
  reducedAxes,
  resized,
  rowOf,
  windowOf,
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
  const window = windowOf(n);
  if (window) {
    const [start, step] = [window.start.map(bound), window.step];
    // The window itself is gone: its operand is asked for the window's elements.
    const inner: Box = {
      kind: "box",
      start: start.map((s, i) => s + box.start[i] * step[i]),
      stop: start.map((s, i) => s + (box.stop[i] - 1) * step[i] + 1),
      step: step.map((s, i) => s * box.step[i]),
    };
    if (boxShape(box).some((size) => size === 0)) return undefined;
    return { demand: asDemand(box, shape), operands: [asDemand(inner, sizes(x))], build: (_b, [y]) => y };
  }
  if (asDemand(box, shape) === undefined) return undefined;
  const plain: Plain = (demand, operands, attrs) => {
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
  if (row.role === "move") return moved(n, box, plain);
  const reduced = row.role === "reduce" ? foldedAxes(n) : undefined;
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
  if (isGather(n)) {
    const k = n.inputs[1].type.shape.length;
    const rest = boxFrom(sizes(x).map((size, a) => (a === 0 ? size : [box, k + a - 1])));
    return plain(box, [rest, boxFrom(range(k).map((a) => [box, a]))]);
  }
  if (row.role === "scan" && sameList(sizes(x), shape)) {
    const { axis } = attrsOf(n, "cumsum");
    const demand = boxFrom(shape.map((size, a) => (a === axis ? size : [box, a])));
    return plain(demand, [demand]);
  }
  return undefined;
}

type Plain = (demand: Box, operands: readonly Box[], attrs?: (made: Box) => Node["attrs"]) => Push | undefined;

/** Axes that a move passes on are cut as asked; others are wanted whole. */
function moved(n: Node, box: Box, plain: Plain): Push | undefined {
  if (readsOf(n) === "in order") return reshaped(n, box);
  const joined = joinedAxis(n);
  if (joined !== undefined) return concatenated(n, box, joined);
  const passed = passedAxes(n);
  const demand = boxFrom(sizes(n).map((size, a) => (passed[a] === "changed" ? size : [box, a])));
  const operands = n.inputs.map((x, i) =>
    boxFrom(
      sizes(x).map((size, own) => {
        const a = passed.findIndex((axes) => axes !== "changed" && axes[i] === own);
        return a < 0 ? size : [demand, a];
      }),
    ),
  );
  return plain(demand, operands, (made) => resized(n, boxShape(made)));
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
    build: (b, inputs) => {
      const parts = inputs.filter((_, i) => live[i]);
      return parts.length === 1 ? parts[0] : b.make(n.op as OpName, parts, n.attrs);
    },
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
  const reduced = row.role === "reduce" ? foldedAxes(n) : undefined;
  if (reduced) {
    if (reduced.some((a) => a < lead)) return undefined;
    const attrs = reducedAxes(n) ? { ...n.attrs, axes: move(reduced) } : { ...n.attrs, axis: reduced[0] + shift };
    return { demand: rows, operands: [rows], build: (b, [y]) => b.make(n.op as OpName, [y], attrs) };
  }
  const passed = passedAxes(n);
  const first = passed.slice(0, lead);
  const attrs = led(n, lead, index.type.shape.length, made);
  if (attrs) {
    // The same in all rows: nothing has to be chosen.
    if (first.every((axes) => axes !== "changed" && axes[0] === undefined))
      return {
        demand: rows,
        operands: [undefined],
        build: (b, [y]) => b.make(n.op as OpName, [b.reshape(y, [...index.type.shape.map(() => 1), ...sizes(x).slice(lead)])], attrs),
      };
    if (!first.every((axes, a) => axes !== "changed" && axes[0] === a)) return undefined;
    return { demand: rows, operands: [rows], build: (b, [y]) => b.make(n.op as OpName, [y], attrs) };
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
