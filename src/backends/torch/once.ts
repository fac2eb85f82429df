/**
 * What depends on frozen parameters alone and is dear to compute, such as the codes of a base in 4 bits: computed once, and kept like a parameter. What nothing
 * else reads is not kept. What depends on numbers alone is computed once too, and read like a state.
 */
import { type Graph, type Node, node, order, type Result } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { onceOf, parametersOf } from "../load.ts";
import type { Slot } from "./program.ts";
import { isTable, readingTables, tableName } from "./tables.ts";

export interface Prepared {
  readonly graphs: readonly Graph[];
  /** Gives what is made of numbers alone as states, by name. */
  readonly tables: Graph;
  /** Gives what is kept of parameters as states, by name. */
  readonly prepare: Graph;
  /** Parameters that it reads. */
  readonly reads: readonly string[];
  /** Those that nothing else reads. */
  readonly sources: ReadonlyMap<string, Slot>;
  readonly made: ReadonlySet<string>;
}

/** `wanted`: nodes by which gradients are asked for. */
export function prepared(graphs: readonly Graph[], wanted: ReadonlySet<Node>): Prepared {
  const numbers = new Map<string, number>();
  const nameOf = (n: Node): string => {
    const [base] = parametersOf([n]);
    const stem = base === undefined ? tableName(n) : `${base}_${n.type.dtype === "i32" ? "codes" : "once"}`;
    numbers.set(stem, (numbers.get(stem) ?? 0) + 1);
    return numbers.get(stem) === 1 ? stem : `${stem}_${numbers.get(stem)}`;
  };
  const byName = new Set([...wanted].flatMap((n) => (rowOf(n).supply === "param" ? [String(n.attrs.name)] : [])));
  const moving = (n: Node) => wanted.has(n) || (rowOf(n).supply === "param" && byName.has(String(n.attrs.name)));
  const found = onceOf(graphs, moving, nameOf);
  const results = found.results.filter((r) => !isTable(r.name));
  const tables = found.results.filter((r) => isTable(r.name));
  // a single number is one of Python's wherever it is read
  const isNumber = ({ node }: Result) => node.type.shape.length === 0;
  const stands = new Map(tables.map((r) => [r.name, isNumber(r) ? r.node : read(r)]));
  const rewritten = stands.size === 0 ? found.graphs : found.graphs.map((g) => readingTables(g, stands));
  const kept = parametersOf(rewritten.flatMap((g) => g.results.map((r) => r.node)));
  const sources = new Map<string, Slot>();
  const roots = results.map((r) => r.node);
  for (const n of order(roots)) {
    const name = String(n.attrs.name);
    if (rowOf(n).supply === "param" && !kept.has(name)) sources.set(name, { dtype: n.type.dtype, shape: n.type.shape as number[] });
  }
  const asStates = (of: readonly Result[]): Graph => ({ results: of.map(({ name, node }) => ({ role: "state", name, node })) });
  return {
    graphs: rewritten,
    tables: asStates(tables.filter((r) => !isNumber(r))),
    prepare: asStates(results),
    reads: [...parametersOf(roots)],
    sources,
    made: new Set(results.map((r) => r.name)),
  };
}

const read = ({ name, node: { type, origin } }: Result): Node =>
  node("state", [], { name, shape: type.shape, dtype: type.dtype }, type, origin);
