/** Constants computed at compile time. */
import type { Node } from "../graph.ts";
import { sizes } from "../graph.ts";
import { count, isConst, type Role, rowOf, type Tensor, tensor } from "../ops/index.ts";
import { type Rule, type Rules, rewrite, type ScopedBuilder } from "../rewrite.ts";
import type { Pass } from "./pass.ts";
import { elements, splat } from "./rules/facts.ts";

/** Tables up to this many elements are worth keeping; larger ones are computed where they are read. */
const MOST = 256;

const computed: ReadonlySet<Role> = new Set<Role>(["map", "sum", "scale", "move", "reduce", "scan", "index", "product"]);

/** A node whose operands are all constants. Elementwise functions of equal elements are computed once, whatever their size. */
const foldRule: Rule = (n, b) => {
  if (n.inputs.length === 0 || !n.inputs.every(isKnown)) return undefined;
  const row = rowOf(n);
  if (!computed.has(row.role)) return undefined;
  const values = n.inputs.map(splat);
  if (row.scalar && values.every((v) => v !== undefined)) {
    const scalars = n.inputs.map((x, i) => tensor(x.type.dtype, [], [values[i]!]));
    return constantOf(b, n, row.eval(scalars, n.attrs, n).data);
  }
  if (elements(sizes(n)) > MOST || n.inputs.some((x) => elements(sizes(x)) > MOST)) return undefined;
  // Positions alone are computed faster than read.
  if (!n.inputs.some(isConst)) return undefined;
  return constantOf(b, n, row.eval(n.inputs.map(constantValue), n.attrs, n).data);
};

const isKnown = (n: Node): boolean => isConst(n) || (rowOf(n).role === "source" && !rowOf(n).supply && n.inputs.length === 0);

const constantValue = (n: Node): Tensor => rowOf(n).eval([], n.attrs, n);

/** A constant of the node's type; not made where a value is not finite, which a program file could not hold. */
function constantOf(b: ScopedBuilder, n: Node, data: Float64Array): Node | undefined {
  if (!data.every((v) => Number.isFinite(v))) return undefined;
  const equal = data.length > 0 && data.every((v) => Object.is(v, data[0]));
  if (data.length !== 1 && data.length !== count(sizes(n))) return undefined;
  const attrs = { shape: n.type.shape, dtype: n.type.dtype, data: equal ? [data[0]] : [...data] };
  return b.make("const", [], attrs);
}

export const folding: Rules = { every: [foldRule] };

export const fold: Pass = {
  name: "fold",
  before: "any graph",
  after: `no node of at most ${MOST} elements has constants alone as operands`,
  law: "results are equal",
  run: (graph) => rewrite(graph, folding),
};
