import type { Node } from "../../../ir/graph.ts";
import { functions } from "../../../ir/ops/functions.ts";
import type { FunctionName } from "../../../ir/ops/op.ts";
import { Size, type Value } from "../values.ts";
import { BuiltinTable, tensorArg } from "./table.ts";

const isStatic = (v: Value): boolean => typeof v === "number" || v instanceof Size;

export const maps = new BuiltinTable("Element by element, and along axes");

// on static numbers they give static numbers
for (const [name, { doc, of, whole }] of Object.entries(functions))
  maps.add(name, doc, [{ name: "x" }], ({ x }, c) => {
    if (typeof x === "number") return of(x);
    const out = c.build((b) => b.unary(name as FunctionName, c.node(x!)));
    // whole results index and count
    return c.tensor(whole ? c.build((b) => b.cast(out, "i32")) : out);
  });

const reductions = {
  sum: "The sum of a tensor, along `axis` or of all of it (`keep`: the axis stays, of size 1), or of a list.",
  mean: "The mean of a tensor, along `axis` or of all of it, or of a list.",
  max: "The largest of a tensor, along `axis` or of all of it, of a list, or of two.",
  min: "The smallest of a tensor, along `axis` or of all of it, of a list, or of two.",
} as const;
for (const kind of ["sum", "mean", "max", "min"] as const)
  maps.add(
    kind,
    reductions[kind],
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

maps.add(
  "where",
  "`x` where the condition holds, else `y`, element by element.",
  [{ name: "condition" }, { name: "x" }, { name: "y" }],
  ({ condition, x, y }, c) => {
    if (typeof condition === "boolean") c.fail("P0410", "the condition of `where` is known when compiling", ["write `if … then … else …`"]);
    // numbers take the dtype of the other branch; two of them need one of their own
    const branch = (v: Value) => (isStatic(x!) && isStatic(y!) ? c.node(v) : c.operand(v));
    return c.tensor(c.build((b) => b.where(c.node(condition!), branch(x!), branch(y!))));
  },
);
maps.add("clamp", "x, at least `low` and at most `high`.", [{ name: "x" }, { name: "low" }, { name: "high" }], ({ x, low, high }, c) => {
  if (typeof x === "number" && typeof low === "number" && typeof high === "number") return Math.min(Math.max(x, low), high);
  return c.tensor(c.build((b) => b.min(b.max(c.operand(x!), c.operand(low!)), c.operand(high!))));
});
maps.add(
  "argmax",
  "Where the largest is along an axis, the last if none is given; the first of equal ones.",
  [{ name: "x" }, { name: "axis", optional: true }],
  ({ x, axis }, c) => c.tensor(c.build((b) => b.argmax(c.node(x!), axis === undefined ? -1 : c.int(axis, "axis")))),
);
maps.add(
  "cumsum",
  "Sums up to each position along an axis, the last if none is given.",
  [{ name: "x" }, { name: "axis", optional: true }],
  ({ x, axis }, c) => {
    const node = tensorArg(x, c);
    const whole = c.build((b) => (node.type.dtype === "bool" ? b.cast(node, "i32") : node));
    return c.tensor(c.build((b) => b.cumsum(whole, axis === undefined ? -1 : c.int(axis, "axis"))));
  },
);
maps.add("stop_gradient", "x, as a constant to whoever differentiates.", [{ name: "x" }], ({ x }, c) =>
  typeof x === "number" ? x : c.tensor(c.build((b) => b.stopGradient(c.node(x!)))),
);
maps.add("cast", "x as `f32`, `i32` or `bool`.", [{ name: "x" }, { name: "to" }], ({ x, to }, c) =>
  c.tensor(c.build((b) => b.cast(c.node(x!), to as "f32"))),
);
for (const [name, largest] of [
  ["kth_smallest", false],
  ["kth_largest", true],
] as const)
  maps.add(
    name,
    `The k-th ${largest ? "largest" : "smallest"} of all elements; k may be known in the step alone.`,
    [{ name: "x" }, { name: "k" }],
    ({ x, k }, c) => {
      const node = c.node(x!);
      const flat = c.build((b) => b.reshape(node, [node.type.shape.reduce((p, d) => c.times(p, d), 1)]));
      return c.tensor(c.build((b) => (largest ? b.neg(b.kth(b.neg(flat), c.operand(k!))) : b.kth(flat, c.operand(k!)))));
    },
  );
// the k largest along the last axis, largest first, and where they are; of equal ones the first comes first
maps.add(
  "topk",
  "[values, places] of the k largest along the last axis, largest first; of equal ones the first.",
  [{ name: "x" }, { name: "k" }],
  ({ x, k }, c) => {
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
  },
);
