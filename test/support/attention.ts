/** Attention of one head under a mask, and its gradients, written with the builder. */
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";

const b = new Builder({ path: "attention" });
/** The least of f32. */
const LEAST = -3.4028234663852886e38;
export const [LENGTH, SIZE] = [512, 4];
export const row = (): Node => b.iota([1, LENGTH, LENGTH], 1);
export const column = (): Node => b.iota([1, LENGTH, LENGTH], 2);
/** True where a query looks: at its own place and those before. */
export const causal = (): Node => b.compare("le", column(), row());
/** The same, and which keys are real is data. */
export const padded = (): Node =>
  b.logic("and", causal(), b.expand(b.compare("gt", b.param("real", [1, 1, LENGTH]), 0), [1, LENGTH, LENGTH]));

/** `exact`: masked places weigh nothing, whatever else their row has. `least`: what they are before the softmax. */
export function attention(mask: Node, { exact = true, least = LEAST } = {}): Graph {
  const [q, k, v] = ["q", "k", "v"].map((name) => b.param(name, [1, LENGTH, SIZE]));
  const batch = { lhsBatch: [0], rhsBatch: [0] };
  const scores = b.where(mask, b.dot(q, k, { ...batch, lhsContract: [2], rhsContract: [2] }), least);
  const raised = b.unary("exp", b.sub(scores, b.stopGradient(b.reduce("max", scores, [2], true))));
  const e = exact ? b.where(mask, raised, 0) : raised;
  const all = b.reduce("sum", e, [2], true);
  const weights = b.div(e, b.add(all, b.where(b.compare("gt", all, 0), 0, 1)));
  const y = b.dot(weights, v, { ...batch, lhsContract: [2], rhsContract: [1] });
  const loss = b.reduce("sum", b.mul(y, b.unary("sin", y)), [0, 1, 2]);
  const results = [q, k, v].map((p) => ({ role: "output" as const, name: `d${String(p.attrs.name)}`, node: b.grad(loss, p) }));
  return { results: [{ role: "output", name: "y", node: y }, ...results] };
}
