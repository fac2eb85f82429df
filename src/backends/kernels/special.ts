/** Kernels of roots that are neither loops over all their elements nor products: scatter, scan, selection, writing in place, concatenation. */

import { Bug, type Node, sizes as shapeOf } from "../../ir/graph.ts";
import { bound } from "../../ir/ops/bound.ts";
import { attrsOf, readsOf } from "../../ir/ops/index.ts";
import { type Built, type InMemory, mergeAxes, Operands } from "./build.ts";
import { Emitter } from "./emit.ts";
import { add, axisIndex, constant, flatten, type Index, scale, shift, unflatten, zero } from "./index.ts";
import type { LoopKernel } from "./kernel.ts";
import { inPieces } from "./roots.ts";

/** A kernel of a special root. `preserves`: the result must hold this node's value before the kernel runs; the kernel overwrites part of it. */
export interface SpecialBuilt extends Built {
  readonly preserves?: Node;
}

const axisVariables = (shape: readonly number[]): Index[] => shape.map((d, i) => (d === 1 ? zero : axisIndex(i)));

function start(axes: readonly number[], inMemory: InMemory): { operands: Operands; emitter: Emitter } {
  const operands = new Operands();
  const emitter = new Emitter(axes, (n, coords, guard, e) =>
    inMemory(n) ? e.load(operands.read(n), n.type.dtype, flatten(coords, shapeOf(n)), guard) : undefined,
  );
  return { operands, emitter };
}

/** A map over the elements of `from`, stored into `to` at `target(coords)`. */
function copyInto(from: Node, to: Node, inMemory: InMemory, target: (coords: readonly Index[], e: Emitter) => readonly Index[]): Built {
  const shape = shapeOf(from);
  const { operands, emitter } = start(shape, inMemory);
  const coords = axisVariables(shape);
  const value = emitter.at(from, coords);
  const index = flatten(target(coords, emitter), shapeOf(to));
  const kernel: LoopKernel = {
    kind: "loop",
    name: "",
    axes: shape,
    row: 0,
    values: emitter.values,
    stages: [{ over: "row", reductions: [], stores: [{ operand: operands.write(to), index, value }] }],
    operands: operands.list,
  };
  return { kernel: mergeAxes(dropUnit(kernel)), tensors: operands.tensors };
}

/** Leaves out axes of size 1, which no index mentions. */
function dropUnit(kernel: LoopKernel): LoopKernel {
  const places = new Map<number, number>();
  const axes: number[] = [];
  kernel.axes.forEach((d, i) => {
    if (d === 1) return;
    places.set(i, axes.length);
    axes.push(d);
  });
  if (axes.length === kernel.axes.length) return kernel;
  const moved = (i: Index): Index => renumber(i, (a) => places.get(a)!);
  return {
    ...kernel,
    axes,
    values: kernel.values.map((v) => (v.kind === "index" || v.kind === "load" ? { ...v, index: moved(v.index) } : v)),
    stages: kernel.stages.map((s) => ({ ...s, stores: s.stores.map((x) => ({ ...x, index: moved(x.index) })) })),
  };
}
function renumber(i: Index, f: (axis: number) => number): Index {
  let out = constant(i.base);
  for (const { factor, atom } of i.terms) {
    const a = atom.kind === "axis" ? { ...atom, axis: f(atom.axis) } : atom.kind === "value" ? atom : { ...atom, of: renumber(atom.of, f) };
    out = add(out, { base: 0, terms: [{ factor, atom: a }] });
  }
  return out;
}

type Rule = (n: Node, inMemory: InMemory) => readonly SpecialBuilt[];

const rules: Readonly<Record<string, Rule>> = {
  scatter_add: (n, inMemory) => {
    const [at, updates] = n.inputs;
    const places = shapeOf(at);
    const rest = shapeOf(updates).slice(places.length);
    const count = (s: readonly number[]) => s.reduce((a, b) => a * b, 1);
    const axes = [count(places), count(rest)] as const;
    const { operands, emitter } = start(axes, inMemory);
    const outer = axes[0] === 1 ? places.map(() => zero) : unflatten(axisIndex(0), places, axes);
    const inner = axes[1] === 1 ? rest.map(() => zero) : unflatten(axisIndex(1), rest, axes);
    const rows = shapeOf(n)[0];
    const index = emitter.index(emitter.clamped(emitter.at(at, outer), rows));
    const value = emitter.at(updates, [...outer, ...inner]);
    const out = operands.write(n);
    return [
      {
        kernel: { kind: "scatter", name: "", axes, rows, index, value, out, values: emitter.values, operands: operands.list },
        tensors: operands.tensors,
      },
    ];
  },
  cumsum: (n, inMemory) => {
    const shape = shapeOf(n);
    const { axis } = attrsOf(n, "cumsum");
    const order = [...shape.map((_, i) => i).filter((i) => i !== axis && shape[i] > 1), axis];
    const axes = order.map((i) => shape[i]);
    const { operands, emitter } = start(axes, inMemory);
    const coords = shape.map((d, i) => (d === 1 ? zero : axisIndex(order.indexOf(i))));
    let value = emitter.at(n.inputs[0], coords);
    if (n.inputs[0].type.dtype === "bool") value = emitter.call("cast", "i32", value);
    const acc = emitter.value({ kind: "acc", dtype: n.type.dtype }, "acc");
    const stores = [{ operand: operands.write(n), index: flatten(coords, shape), value: acc }];
    return [
      {
        kernel: { kind: "scan", name: "", axes, dtype: n.type.dtype, value, stores, values: emitter.values, operands: operands.list },
        tensors: operands.tensors,
      },
    ];
  },
  kth: (n, inMemory) => {
    const [x, k] = n.inputs;
    const axes = [shapeOf(x)[0]] as const;
    const { operands, emitter } = start(axes, inMemory);
    const value = emitter.at(x, axisVariables(axes));
    const which = emitter.at(k, []);
    const out = operands.write(n);
    return [
      {
        kernel: { kind: "select", name: "", axes, value, k: which, out, values: emitter.values, operands: operands.list },
        tensors: operands.tensors,
      },
    ];
  },
  write: (n, inMemory) => {
    const [old, at, rows] = n.inputs;
    const { axis } = attrsOf(n, "write");
    const room = shapeOf(old)[axis] - shapeOf(rows)[axis] + 1;
    const built = copyInto(rows, n, inMemory, (coords, e) =>
      coords.map((c, i) => (i === axis ? add(c, e.clamped(e.at(at, []), room)) : c)),
    );
    return [{ ...built, preserves: old }];
  },
};

/** Each operand of a move put where the result shows it: the inverse of what the move reads. */
function putTogether(n: Node, inMemory: InMemory): SpecialBuilt[] {
  const reads = readsOf(n);
  if (!reads || reads === "in order") throw new Bug(`${n.op} has no parts`);
  return reads.parts.map(({ operand, axes }) =>
    copyInto(n.inputs[operand], n, inMemory, (coords) => {
      const target = shapeOf(n).map(() => zero);
      axes.forEach((read, a) => {
        if (read === "only" || Math.abs(read.step) !== 1) throw new Bug(`${n.op} leaves places of operand ${operand} out`);
        target[read.axis] = shift(scale(coords[a], read.step), -read.step * bound(read.offset));
      });
      return target;
    }),
  );
}

/** Whether a root has kernels of its own kind. */
export const isSpecial = (n: Node): boolean => n.op in rules;

export function buildSpecial(n: Node, inMemory: InMemory): readonly SpecialBuilt[] {
  if (inPieces(n)) return putTogether(n, inMemory);
  const rule = rules[n.op];
  if (!rule) throw new Bug(`no kernel for ${n.op}`);
  return rule(n, inMemory);
}
