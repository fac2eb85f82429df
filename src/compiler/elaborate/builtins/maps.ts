import type { Node } from "../../../ir/graph.ts";
import { Size, type Value } from "../values.ts";
import { BuiltinTable, tensorArg } from "./table.ts";

const isStatic = (v: Value): boolean => typeof v === "number" || v instanceof Size;

/** Elementwise functions and reductions; on static numbers they give static numbers. */
const scalar: Readonly<Record<string, (x: number) => number>> = {
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  abs: Math.abs,
  sign: Math.sign,
  floor: Math.floor,
  ceil: Math.ceil,
  round: (x) => {
    // half to even, as NumPy and WGSL round
    const r = Math.round(x);
    return Math.abs(x % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r;
  },
};

export const maps = new BuiltinTable();

for (const [name, f] of Object.entries(scalar))
  maps.add(name, [{ name: "x" }], ({ x }, c) => {
    if (typeof x === "number") return f(x);
    const out = c.build((b) => b.unary(name as "exp", c.node(x!)));
    // whole results are whole numbers: they index and count
    return c.tensor(name === "floor" || name === "ceil" || name === "round" ? c.build((b) => b.cast(out, "i32")) : out);
  });
maps.add("erf", [{ name: "x" }], ({ x }, c) => c.tensor(c.build((b) => b.unary("erf", c.node(x!)))));

for (const kind of ["sum", "mean", "max", "min"] as const)
  maps.add(
    kind,
    [{ name: "x" }, { name: "y", optional: true }, { name: "axis", optional: true }, { name: "keep", optional: true }],
    (args, c) => {
      const { x, y } = args;
      if (y !== undefined) {
        if (kind !== "max" && kind !== "min")
          return c.fail("P0205", `\`${kind}\` takes one tensor or one list; an axis is given by name`, [`${kind}(x, axis: 1)`]);
        if (typeof x === "number" && typeof y === "number") return Math[kind](x, y);
        return c.tensor(c.build((b) => b.binary(kind, c.operand(x!), c.operand(y))));
      }
      if (Array.isArray(x)) {
        if (x.length === 0) c.fail("P0205", `\`${kind}\` of an empty list`);
        if (x.every((v) => typeof v === "number")) {
          const n = x as number[];
          const total = n.reduce((a, b) => a + b, 0);
          return kind === "sum" ? total : kind === "mean" ? total / n.length : Math[kind](...n);
        }
        const nodes = x.map((v) => c.node(v));
        const all = c.build((b) => nodes.reduce((p, q) => (kind === "max" || kind === "min" ? b.binary(kind, p, q) : b.add(p, q))));
        return c.tensor(kind === "mean" ? c.build((b) => b.div(all, nodes.length)) : all);
      }
      if (typeof x === "number") return x;
      const node = c.node(x!);
      const axes =
        args.axis === undefined
          ? undefined
          : Array.isArray(args.axis)
            ? args.axis.map((a) => c.int(a, "axis"))
            : [c.int(args.axis, "axis")];
      return c.tensor(c.build((b) => b.reduce(kind, node, axes, args.keep === true)));
    },
  );

maps.add("where", [{ name: "condition" }, { name: "x" }, { name: "y" }], ({ condition, x, y }, c) => {
  if (typeof condition === "boolean") c.fail("P0410", "the condition of `where` is known when compiling", ["write `if … then … else …`"]);
  // numbers take the dtype of the other branch; two of them need one of their own
  const branch = (v: Value) => (isStatic(x!) && isStatic(y!) ? c.node(v) : c.operand(v));
  return c.tensor(c.build((b) => b.where(c.node(condition!), branch(x!), branch(y!))));
});
maps.add("clamp", [{ name: "x" }, { name: "low" }, { name: "high" }], ({ x, low, high }, c) => {
  if (typeof x === "number" && typeof low === "number" && typeof high === "number") return Math.min(Math.max(x, low), high);
  return c.tensor(c.build((b) => b.min(b.max(c.operand(x!), c.operand(low!)), c.operand(high!))));
});
maps.add("argmax", [{ name: "x" }, { name: "axis", optional: true }], ({ x, axis }, c) =>
  c.tensor(c.build((b) => b.argmax(c.node(x!), axis === undefined ? -1 : c.int(axis, "axis")))),
);
maps.add("cumsum", [{ name: "x" }, { name: "axis", optional: true }], ({ x, axis }, c) => {
  const node = tensorArg(x, c);
  const whole = c.build((b) => (node.type.dtype === "bool" ? b.cast(node, "i32") : node));
  return c.tensor(c.build((b) => b.cumsum(whole, axis === undefined ? -1 : c.int(axis, "axis"))));
});
maps.add("stop_gradient", [{ name: "x" }], ({ x }, c) =>
  typeof x === "number" ? x : c.tensor(c.build((b) => b.stopGradient(c.node(x!)))),
);
maps.add("cast", [{ name: "x" }, { name: "to" }], ({ x, to }, c) => c.tensor(c.build((b) => b.cast(c.node(x!), to as "f32"))));
for (const [name, largest] of [
  ["kth_smallest", false],
  ["kth_largest", true],
] as const)
  maps.add(name, [{ name: "x" }, { name: "k" }], ({ x, k }, c) => {
    const node = c.node(x!);
    const flat = c.build((b) => b.reshape(node, [node.type.shape.reduce((p, d) => c.times(p, d), 1)]));
    return c.tensor(c.build((b) => (largest ? b.neg(b.kth(b.neg(flat), c.operand(k!))) : b.kth(flat, c.operand(k!)))));
  });
// the k largest along the last axis, largest first, and where they are; of equal ones the first comes first
maps.add("topk", [{ name: "x" }, { name: "k" }], ({ x, k }, c) => {
  let left = c.node(x!);
  const { shape } = left.type;
  const last = shape.length - 1;
  const n = c.int(k!, "k");
  if (last < 0 || n < 1 || (typeof shape[last] === "number" && n > shape[last]))
    c.fail("P0403", `\`k\` of topk must be between 1 and the size of the last axis, this is ${n} for [${shape.join(", ")}]`);
  const [values, places]: Node[][] = [[], []];
  for (let i = 0; i < n; i++) {
    const at = c.build((b) => b.reshape(b.argmax(left, last), [...shape.slice(0, last), 1]));
    const here = c.build((b) => b.eq(b.iota(shape, last), at));
    values.push(c.build((b) => b.reduce("sum", b.where(here, left, 0), [last], true)));
    places.push(at);
    left = c.build((b) => b.where(here, -3.4028234663852886e38, left));
  }
  return [values, places].map((all) => c.tensor(c.build((b) => b.concat(all, last))));
});
