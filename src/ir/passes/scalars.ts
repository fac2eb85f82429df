/** Arithmetic on the numbers of a step leaves the graph: the host computes it in f64 and hands in the results. */

import type { HostScalar } from "../../ground/program.ts";
import { Builder } from "../build.ts";
import type { Node } from "../graph.ts";
import { order, sizes } from "../graph.ts";
import { isConst, rowOf } from "../ops/index.ts";
import { withRoots } from "../rebuild.ts";
import { remadeOn } from "../rewrite.ts";
import type { Pass } from "./pass.ts";
import { elements, splat } from "./rules/facts.ts";

/** Numbers that the host knows before a step runs. */
const KNOWN: ReadonlySet<string> = new Set(["step", "steps"]);

export const scalars: Pass = {
  name: "scalars",
  before: "a flat graph",
  after: "what depends on `step` and `steps` alone is an input `scalar/n`, with code for the host",
  law: "results are equal when the inputs have the values that the code gives",
  run: (graph, context) => {
    const known = context.options.hostInputs ? new Set(context.options.hostInputs) : KNOWN;
    const roots = graph.results.map((r) => r.node);
    const nodes = order(roots);
    const host = hostNodes(nodes, known);
    const made = new Map<Node, Node>();
    /** The input that stands for a host node which a device node reads. */
    const supply = (n: Node): Node => {
      const before = made.get(n);
      if (before) return before;
      const b = new Builder(n.backward ? n.origin : { ...n.origin, half: undefined });
      const name = `scalar/${context.scalars.length}`;
      context.scalars.push({ name, code: codeOf(n, host), dtype: n.type.dtype });
      const out = b.reshape(b.input(name, { dtype: n.type.dtype, shape: [] }), n.type.shape);
      made.set(n, out);
      return out;
    };
    const done = new Map<Node, Node>();
    const use = (n: Node): Node => (host.get(n) === "computed" ? supply(n) : done.get(n)!);
    for (const n of nodes) {
      if (host.get(n) === "computed") continue;
      done.set(n, remadeOn(n, n.inputs.map(use)));
    }
    return withRoots(graph, roots.map(use));
  },
};

type Known = "given" | "constant" | "computed";

/** Single values that depend on known numbers only. */
function hostNodes(nodes: readonly Node[], known: ReadonlySet<string>): Map<Node, Known> {
  const out = new Map<Node, Known>();
  for (const n of nodes) {
    if (n.loop || elements(sizes(n)) !== 1) continue;
    const row = rowOf(n);
    if (row.supply === "input" && known.has(String(n.attrs.name)) && n.type.shape.length === 0) out.set(n, "given");
    else if (splat(n) !== undefined && isConst(n)) out.set(n, "constant");
    else if (
      (row.scalar !== undefined || (row.role === "move" && n.inputs.length === 1)) &&
      n.inputs.every((i) => out.has(i)) &&
      n.inputs.some((i) => out.get(i) !== "constant")
    )
      out.set(n, isPlainMove(n) && out.get(n.inputs[0]) === "given" ? "given" : "computed");
  }
  return out;
}

/** A given number in another shape stays on the device: it costs nothing there. */
const isPlainMove = (n: Node): boolean => rowOf(n).role === "move";

function codeOf(root: Node, host: ReadonlyMap<Node, Known>): HostScalar["code"] {
  const code: (string | number)[][] = [];
  const places = new Map<Node, string | number>();
  for (const n of order([root])) {
    const row = rowOf(n);
    const args = n.inputs.map((i) => places.get(i)!);
    if (row.role === "move") places.set(n, args[0]);
    else if (host.get(n) === "given") places.set(n, `@${String(n.attrs.name)}`);
    else if (host.get(n) === "constant") {
      const value = splat(n)!;
      places.set(n, Number.isFinite(value) ? value : String(value));
    } else {
      places.set(n, `%${code.length}`);
      code.push([opName(n), ...args]);
    }
  }
  return code;
}

/** The function's name, with the dtype where it decides what is computed: integers wrap, casts go somewhere. */
function opName(n: Node): string {
  const name = rowOf(n).scalar!;
  const attrs = n.attrs.dtype;
  if (typeof attrs === "string") return `${name}.${attrs}`;
  const integer = n.type.dtype === "i32" && (rowOf(n).role === "sum" || rowOf(n).role === "scale" || name === "mod" || name === "abs");
  return integer ? `${name}.i32` : name;
}
