/** What an update's text says of single parameters: names that are made of the parameter's, and nodes said once. */
import { sameShape } from "../../ir/dim.ts";
import type { Graph, Node } from "../../ir/graph.ts";
import { rowOf, splatOf } from "../../ir/ops/index.ts";
import { rebuildGraph, withInputs } from "../../ir/rebuild.ts";
import { Scope } from "../../ir/rewrite.ts";
import { identifier, quoted } from "./text.ts";

/** What a tensor of a parameter is called: itself `w`, its gradient `g`, a state by the end of its name. */
export function aliasOf(name: string, param: boolean, gradients: ReadonlyMap<string, string>): string {
  if (param) return "w";
  return gradients.has(name) ? "g" : identifier(name.split(/[./]/).at(-1)!);
}
/** The name of a tensor as Python makes it of the parameter's. */
export function keyOf(name: string, owner: string): string {
  const plain = (text: string) => !/[{}"\\]/.test(text);
  const rest = owner.slice(owner.indexOf(".") + 1);
  if (name === owner) return "name";
  const made = (part: string, as: string): string | undefined => {
    const at = name.indexOf(part);
    const [before, after] = [name.slice(0, at), name.slice(at + part.length)];
    return at >= 0 && plain(before) && plain(after) ? `f"${before}{${as}}${after}"` : undefined;
  };
  return made(owner, "name") ?? (owner.includes(".") ? made(rest, "rest") : undefined) ?? quoted(name);
}

/** The operand of a node that only adds 0 or multiplies by 1. */
function unchanged(n: Node, inputs: readonly Node[]): Node | undefined {
  const { algebra } = rowOf(n);
  if (algebra?.identity === undefined || !algebra.commutative || inputs.length !== 2) return undefined;
  const at = inputs.findIndex((i) => splatOf(i) === algebra.identity);
  const other = inputs[1 - at];
  return at >= 0 && sameShape(other.type.shape, n.type.shape) && other.type.dtype === n.type.dtype ? other : undefined;
}

/** Equal nodes are one, so that what every parameter's part asks of all is said once. */
export function single(graph: Graph): Graph {
  const scope = new Scope();
  return rebuildGraph(graph, new Map(), (n, inputs) => unchanged(n, inputs) ?? scope.intern(withInputs(n, inputs)));
}
