/**
 * What depends on frozen parameters alone and is dear to compute, such as the codes of a base in 4 bits: computed once, and kept like a parameter. What nothing
 * else reads is not kept.
 */
import { type Graph, type Node, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { rebuild, withInputs } from "../../ir/rebuild.ts";
import { onceOf, parametersOf } from "../load.ts";
import type { Slot } from "./program.ts";
import { wantedIn } from "./wanted.ts";

interface Prepared {
  readonly graphs: readonly Graph[];
  /** Gives what is kept as states, by name. */
  readonly prepare: Graph;
  /** Parameters that it reads. */
  readonly reads: readonly string[];
  /** Those that nothing else reads. */
  readonly sources: ReadonlyMap<string, Slot>;
  readonly made: ReadonlySet<string>;
}

/** Names of what is made of numbers alone begin so: no parameter's coming asks for it, so it stays where it is. */
const NUMBERS = "numbers/";

function writtenOut(graph: Graph, values: ReadonlyMap<string, Node>): Graph {
  const roots = rebuild(
    graph.results.map((r) => r.node),
    new Map(),
    (n, inputs) => (rowOf(n).supply === "param" ? values.get(String(n.attrs.name)) : undefined) ?? withInputs(n, inputs),
  );
  return { results: graph.results.map((r, i) => ({ ...r, node: roots[i] })) };
}

export function prepared(graphs: readonly Graph[]): Prepared | undefined {
  const wanted = new Set(graphs.flatMap((g) => [...wantedIn(g.results.map((r) => r.node))]));
  const numbers = new Map<string, number>();
  const nameOf = (n: Node, index: number): string => {
    const [base] = parametersOf([n]);
    if (base === undefined) return `${NUMBERS}${index}`;
    const stem = `${base}_${n.type.dtype === "i32" ? "codes" : "once"}`;
    numbers.set(stem, (numbers.get(stem) ?? 0) + 1);
    return numbers.get(stem) === 1 ? stem : `${stem}_${numbers.get(stem)}`;
  };
  const byName = new Set([...wanted].flatMap((n) => (rowOf(n).supply === "param" ? [String(n.attrs.name)] : [])));
  const moving = (n: Node) => wanted.has(n) || (rowOf(n).supply === "param" && byName.has(String(n.attrs.name)));
  const found = onceOf(graphs, moving, nameOf);
  const results = found.results.filter((r) => !r.name.startsWith(NUMBERS));
  const numbersOnly = new Map(found.results.filter((r) => r.name.startsWith(NUMBERS)).map((r) => [r.name, r.node]));
  const rewritten = numbersOnly.size === 0 ? found.graphs : found.graphs.map((g) => writtenOut(g, numbersOnly));
  if (results.length === 0) return undefined;
  const roots = results.map((r) => r.node);
  const kept = parametersOf(rewritten.flatMap((g) => g.results.map((r) => r.node)));
  const sources = new Map<string, Slot>();
  for (const n of order(roots)) {
    const name = String(n.attrs.name);
    if (rowOf(n).supply === "param" && !kept.has(name)) sources.set(name, { dtype: n.type.dtype, shape: n.type.shape as number[] });
  }
  return {
    graphs: rewritten,
    prepare: { results: results.map(({ name, node }) => ({ role: "state", name, node })) },
    reads: [...parametersOf(roots)],
    sources,
    made: new Set(results.map((r) => r.name)),
  };
}
