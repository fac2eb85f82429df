import type { Node } from "../../../ir/graph.ts";
import { isHalfFormat } from "../../../ir/ops/halves.ts";
import { describe, type Value } from "../values.ts";
import { BuiltinTable, type Call } from "./table.ts";

export const linear = new BuiltinTable("Decompositions and codes");

linear.add("svd", "[U, s, V] with w = U · diag(s) · Vᵀ, largest first. Computed when weights are loaded.", [{ name: "w" }], ({ w }, c) => {
  const node = c.node(w!);
  return (["svd_u", "svd_s", "svd_v"] as const).map((op) => c.tensor(c.build((b) => b.make(op, [node]))));
});
linear.add("qr", "[Q, R] with w = Q · R. Computed when weights are loaded.", [{ name: "w" }], ({ w }, c) => {
  const node = c.node(w!);
  return (["qr_q", "qr_r"] as const).map((op) => c.tensor(c.build((b) => b.make(op, [node]))));
});
// numbers of levels, packed in words, and back: see `std/quantise`
linear.add(
  "quantise",
  "Numbers of the nearest of ascending `levels` to x / scale, a scale for each `block` elements, packed into words of 32 bits.",
  [{ name: "x" }, { name: "scale" }, { name: "levels" }, { name: "block" }],
  ({ x, scale, levels, block }, c) =>
    c.tensor(c.build((b) => b.make("quantise", [c.node(x!), c.node(scale!), levelsOf(levels!, c)], { block: c.int(block!, "block") }))),
);
linear.add(
  "dequantise",
  "What `quantise` packed, as numbers of the shape of `like`.",
  [{ name: "codes" }, { name: "scale" }, { name: "levels" }, { name: "block" }, { name: "like" }],
  ({ codes, scale, levels, block, like }, c) => {
    const attrs = { shape: c.node(like!).type.shape, block: c.int(block!, "block") };
    return c.tensor(c.build((b) => b.make("dequantise", [c.node(codes!), c.node(scale!), levelsOf(levels!, c)], attrs)));
  },
);
linear.add(
  "half",
  'x as 16 bits would hold it, `"f16"` or `"bf16"`; it lies in 16 bits.',
  [{ name: "x" }, { name: "format" }],
  ({ x, format }, c) => {
    if (!isHalfFormat(format)) return c.fail("P0206", `\`format\` is "f16" or "bf16", this is ${describe(format ?? null)}`);
    const node = c.node(x!);
    return c.tensor(c.build((b) => b.make("widen", [b.make("narrow", [node], { format })], { shape: node.type.shape, format })));
  },
);
// whole numbers of a few bits in words of 32, and back
const BITS = [1, 2, 4, 8, 16];
const bitsOf = (bits: Value, c: Call): number => {
  const n = c.int(bits, "bits");
  return BITS.includes(n) ? n : c.fail("P0206", `\`bits\` is one of ${BITS.join(", ")}, this is ${n}`);
};
linear.add("pack", "Whole numbers of a few bits in words of 32.", [{ name: "x" }, { name: "bits" }], ({ x, bits }, c) => {
  const node = c.node(x!);
  const n = node.type.shape.reduce<number>(
    (all, d) => (typeof d === "number" ? all * d : c.fail("P0206", "`pack` takes a tensor of known sizes")),
    1,
  );
  return c.tensor(c.build((b) => b.make("pack", [b.reshape(b.cast(node, "i32"), [n])], { bits: bitsOf(bits!, c) })));
});
linear.add(
  "unpack",
  "What `pack` packed, in a shape.",
  [{ name: "words" }, { name: "shape" }, { name: "bits" }],
  ({ words, shape, bits }, c) =>
    c.tensor(c.build((b) => b.make("unpack", [c.node(words!)], { shape: c.dims(shape, "shape"), bits: bitsOf(bits!, c) }))),
);
function levelsOf(levels: Value, c: Call): Node {
  const all = c.list(levels, "levels").map((v) => {
    if (typeof v === "number") return v;
    return c.fail("P0206", "`levels` is a list of numbers");
  });
  for (let i = 1; i < all.length; i++) if (all[i] <= all[i - 1]) c.fail("P0206", `\`levels\` must ascend: ${all[i]} follows ${all[i - 1]}`);
  return c.build((b) => b.table(all, [all.length]));
}
linear.add("solve", "x with a · x = b. Computed when weights are loaded.", [{ name: "a" }, { name: "b" }], ({ a, b }, c) =>
  c.tensor(c.build((bd) => bd.make("solve", [c.node(a!), c.node(b!)]))),
);
