/** What an entry is to the batch and to its parameters, as far as distribution cares. */
import { type Graph, type Node, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";

export interface Kind {
  readonly additive: boolean;
  /** Set where all gradients are of one scalar by parameters and are only added to states: the scalar, and the parameter of each state. */
  readonly backward?: { readonly loss: Node; readonly states: ReadonlyMap<string, string> };
  readonly update: boolean;
}

const isState = (n: Node, name: string): boolean => rowOf(n).supply === "state" && String(n.attrs.name) === name;
const isAdd = (n: Node): boolean => rowOf(n).role === "sum" && rowOf(n).algebra?.commutative === true;

/** Whether a graph, as it is before its loops are gathered, reads no columns and says next values of parameters. */
export function isUpdate(graph: Graph): boolean {
  const nodes = order(graph.results.map((r) => r.node));
  const other = nodes.some((n) => n.loop !== undefined || (rowOf(n).supply === "input" && n.type.shape.length > 0));
  return !other && graph.results.some((r) => r.role === "param");
}

export function kindOf(graph: Graph): Kind {
  const nodes = order(graph.results.map((r) => r.node));
  const asked = nodes.filter((n) => rowOf(n).role === "placeholder");
  const update = isUpdate(graph);
  const added = graph.results.map((r) =>
    r.role === "state" && isAdd(r.node) && isState(r.node.inputs[0], r.name) ? r.node.inputs[1] : undefined,
  );
  const additive = graph.results.length > 0 && added.every((n) => n !== undefined);
  const uses = new Map<Node, number>();
  for (const n of nodes) for (const i of n.inputs) uses.set(i, (uses.get(i) ?? 0) + 1);
  const loss = asked[0]?.inputs[0];
  // gradients that only become numbers inside the function are no business of `backward`
  const outer = asked.filter((n) => added.includes(n));
  const plain =
    additive &&
    outer.length > 0 &&
    outer.length === asked.filter((n) => n.inputs[0] === outer[0].inputs[0]).length &&
    outer.every(
      (n) => n.inputs.length === 2 && n.inputs[0] === outer[0].inputs[0] && rowOf(n.inputs[1]).supply === "param" && uses.get(n) === 1,
    );
  if (!plain) return { additive, update };
  const states = new Map<string, string>();
  graph.results.forEach((r, i) => {
    const n = added[i]!;
    if (outer.includes(n)) states.set(r.name, String(n.inputs[1].attrs.name));
  });
  // a parameter whose gradient goes to two states has none of its own
  if (new Set(states.values()).size < states.size) return { additive, update };
  return { additive, update, backward: { loss: outer[0].inputs[0] ?? loss, states } };
}
