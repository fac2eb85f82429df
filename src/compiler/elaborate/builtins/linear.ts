import { BuiltinTable } from "./table.ts";

/** Decompositions and codes: computed when weights are loaded. */
export const linear = new BuiltinTable();

linear.add("svd", [{ name: "w" }], ({ w }, c) => {
  const node = c.node(w!);
  return (["svd_u", "svd_s", "svd_v"] as const).map((op) => c.tensor(c.build((b) => b.make(op, [node]))));
});
linear.add("qr", [{ name: "w" }], ({ w }, c) => {
  const node = c.node(w!);
  return (["qr_q", "qr_r"] as const).map((op) => c.tensor(c.build((b) => b.make(op, [node]))));
});
linear.add("nf4", [{ name: "w" }, { name: "block", optional: true }], ({ w, block }, c) =>
  c.tensor(c.build((b) => b.make("nf4", [c.node(w!)], { block: block === undefined ? 64 : c.int(block, "block") }))),
);
linear.add("solve", [{ name: "a" }, { name: "b" }], ({ a, b }, c) => c.tensor(c.build((bd) => bd.make("solve", [c.node(a!), c.node(b!)]))));
