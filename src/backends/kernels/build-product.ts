/** Kernels of products. */
import type { Node } from "../../ir/graph.ts";
import { attrsOf, rowOf } from "../../ir/ops/index.ts";
import { type Built, flat, type InMemory, Operands } from "./build.ts";
import { Emitter } from "./emit.ts";
import { axisIndex, type Index, sameIndex, substitute } from "./index.ts";
import { dependence, type ProductKernel } from "./kernel.ts";
import { elements } from "./roots.ts";
import { bindAll, Misfit, type Signatures } from "./space.ts";
import { alignedShapes, isGate, Vanishing } from "./sums.ts";

/**
 * A product with the roots of its epilogue (maps over the same elements), and with further products that are added to it. Throws `Misfit`.
 * `dot` is the product; `roots` holds it, the other products and the maps, operands first.
 */
export function buildProduct(
  dot: Node,
  roots: readonly Node[],
  stored: ReadonlySet<Node>,
  inMemory: InMemory,
  signatures: Signatures,
): Built {
  const others = roots.filter((n) => n !== dot && rowOf(n).role === "product");
  const [main, ...further] = alignedShapes([dot, ...others]);
  const { out } = main;
  const axes = [...main.axes, ...further.map((s) => s.axes[3])] as unknown as ProductKernel["axes"];
  const operands = new Operands();
  const members = new Set(roots);
  const addends = new Set(others);
  const vanishing = new Vanishing(addends);
  if (others.length > 0 && [dot, ...others].some((n) => stored.has(n))) throw new Misfit("a part of a sum is wanted by itself");
  const bound = new Map<Node, readonly Index[]>([[dot, out]]);
  const epilogue = roots.filter((n) => !addends.has(n));
  bindProduct(epilogue, bound, axes, signatures, addends);
  const own = flat(out, dot);
  /** Conditions met on the way to a product that is added, and those of each. */
  const open: number[] = [];
  const gates = new Map<Node, number>();
  const emitter: Emitter = new Emitter(axes, (n, coords, guard, e) => {
    if (addends.has(n)) {
      if (guard !== undefined || !sameIndex(flat(coords, n), own)) throw new Misfit("products are added in another order");
      const [first, ...rest] = open;
      if (first !== undefined)
        gates.set(
          n,
          rest.reduce((a, c) => e.call("and", "bool", a, c), first),
        );
      return e.literal(0, "f32");
    }
    if (isGate(n) && vanishing.has(n)) {
      open.push(e.at(n.inputs[0], coords, guard));
      const nothing = e.at(n.inputs[1], coords, guard);
      open.pop();
      return nothing;
    }
    if (members.has(n)) {
      const at = bound.get(n)!;
      if (guard !== undefined || coords.some((c, i) => !sameIndex(c, at[i]))) throw new Misfit(`${n.op} is read elsewhere`);
      if (n === dot) return e.value({ kind: "acc", dtype: "f32" }, "acc");
    }
    const rest = vanishing.rest(n);
    if (rest) {
      for (const x of n.inputs) if (x !== rest) e.at(x, coords, guard);
      return e.at(rest, coords, guard);
    }
    if (members.has(n)) return undefined;
    return inMemory(n) ? e.load(operands.read(n), n.type.dtype, flat(coords, n), guard) : undefined;
  });
  const left = emitter.at(dot.inputs[0], main.lhs);
  const right = emitter.at(dot.inputs[1], main.rhs);
  const more = further.map((shape, i) => {
    const own = (index: Index) => substitute(index, (a) => axisIndex(a === 3 ? 4 + i : a), axes);
    const [lhs, rhs] = [shape.lhs, shape.rhs].map((coords, side) => emitter.at(others[i].inputs[side], coords.map(own)));
    for (const v of [lhs, rhs]) {
      const value = emitter.values[v];
      if (value.kind !== "load" || value.guard !== undefined) throw new Misfit("a factor that is computed");
    }
    return { lhs, rhs };
  });
  const [first, ...same] = [main, ...further].map((s) => s.axes.slice(0, 3).join());
  if (same.some((s) => s !== first)) throw new Misfit("products of other shapes");
  const total = axes[0] * axes[1] * axes[2];
  const values = epilogue.map((n) => {
    if (elements(n) !== total) throw new Misfit("an epilogue over other elements");
    return { n, value: emitter.at(n, bound.get(n)!) };
  });
  // zeros of a side are skipped row by row of it, and so are rows
  const skips = dot.inputs.length === 3 && !(gates.size > 0 && dot.attrs.zeros === "rhs");
  const skip = skips ? skipOf(dot, emitter) : undefined;
  const stores = values
    .filter(({ n }) => stored.has(n))
    .map(({ n, value }) => ({ operand: operands.write(n), index: flat(bound.get(n)!, n), value }));
  const kernel: ProductKernel = {
    kind: "product",
    name: "",
    operands: operands.list,
    axes,
    values: emitter.values,
    lhs: left,
    rhs: right,
    ...(more.length > 0 && { more: more.map((sides, i) => (gates.has(others[i]) ? { ...sides, gate: gates.get(others[i])! } : sides)) }),
    stores,
    ...(skip === undefined ? {} : { skip }),
  };
  // The epilogue must not see k.
  const deps = dependence(kernel);
  if (kernel.stores.some((s) => deps[s.value] & ~0b0111)) throw new Misfit("an epilogue that varies with k");
  if ([...gates.values()].some((gate) => deps[gate] & ~0b0011)) throw new Misfit("a gate that varies along a row");
  return { kernel, tensors: operands.tensors };
}

/** Sums up to this are finite, and so is all that was summed. */
const FINITE = 3e38;

/** See the pass `sparse`: the third operand is the sum of absolute values on the other side. Infinite or NaN, it does not compare as less. */
const skipOf = (dot: Node, e: Emitter): ProductKernel["skip"] => ({
  side: attrsOf(dot, "dot").zeros!,
  guard: e.call("lt", "bool", e.at(dot.inputs[2], []), e.literal(FINITE, "f32")),
});

/** As `bindAll`, with the product as the one bound root; its own operands are not epilogue, and other products are nothing to bind by. */
function bindProduct(
  roots: readonly Node[],
  bound: Map<Node, readonly Index[]>,
  axes: readonly number[],
  signatures: Signatures,
  addends: ReadonlySet<Node>,
): void {
  const dot = roots[0];
  bindAll(roots, bound, axes, 0, {
    of: (n: Node) => (n === dot ? [] : signatures.of(n).filter((ref) => !addends.has(ref.node))),
  });
}
