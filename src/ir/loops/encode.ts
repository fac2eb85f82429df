/** The structure of an iteration, as a key that is equal for iterations that can share a body. */
import type { Node } from "../graph.ts";
import { showType } from "../ops/index.ts";
import { orderUntil } from "../rebuild.ts";
import { attrsKey } from "../rewrite.ts";
import type { Membership } from "./iterations.ts";

/** Numbers for strings, so that keys of keys stay short. */
export class Interner {
  private readonly ids = new Map<string, number>();
  id(text: string): number {
    let id = this.ids.get(text);
    if (id === undefined) {
      id = this.ids.size;
      this.ids.set(text, id);
    }
    return id;
  }
}

export interface Iteration {
  /** The nodes of the iteration, and the constants they use, operands first. */
  readonly nodes: readonly Node[];
  readonly index: ReadonlyMap<Node, number>;
  /** Operands from outside the iteration, one entry a use: iterations of one key use them in the same order. */
  readonly uses: readonly Node[];
  /** Operands of each node: its place in `nodes`, or −1 − its place in `uses`. */
  readonly operands: readonly (readonly number[])[];
  readonly key: string;
}

/** What a node computes, apart from its operands. Two loops are never the same. */
export const kindOf = (n: Node): string => `${n.op}{${attrsKey(n.attrs)}}${showType(n.type)}${n.loop ? `#${n.id}` : ""}`;

/**
 * The iterations' structure. The nodes of an iteration are listed in an order that hangs on the iteration alone: depth first from the nodes that no node of
 * the iteration uses, deepest first, and among equals by structure.
 */
export function encodeIterations(nodes: readonly Node[], { iterationOf, numbers, constants }: Membership): Iteration[] {
  const intern = new Interner();
  const kinds = new Map<Node, number>();
  const kind = (n: Node): number => {
    let k = kinds.get(n);
    if (k === undefined) {
      k = intern.id(kindOf(n));
      kinds.set(n, k);
    }
    return k;
  };
  const depth = new Map<Node, number>();
  const shape = new Map<Node, number>();
  const used = new Set<Node>();
  const members = numbers.map((): Node[] => []);
  // A constant that is written down may differ from iteration to iteration, so its value is no part of the structure.
  const literal = (n: Node) => constants.has(n) && n.attrs.data !== undefined;
  for (const n of nodes) {
    const iteration = iterationOf.get(n);
    if (iteration === undefined && !constants.has(n)) continue;
    const inside = (i: Node) => (constants.has(i) ? !literal(i) : iterationOf.get(i) === iteration);
    depth.set(n, 1 + Math.max(0, ...n.inputs.map((i) => (inside(i) ? depth.get(i)! : 0))));
    const operands = n.inputs.map((i) => (inside(i) ? shape.get(i) : `?${showType(i.type)}`));
    shape.set(n, intern.id(`${literal(n) ? showType(n.type) : kind(n)}(${operands.join(" ")})`));
    if (iteration === undefined) continue;
    members[iteration].push(n);
    for (const i of n.inputs) if (iterationOf.get(i) === iteration) used.add(i);
  }
  const position = new Map(nodes.map((n, i) => [n, i]));
  return members.map((of, iteration) => {
    const roots = of.filter((n) => !used.has(n));
    roots.sort((a, b) => depth.get(b)! - depth.get(a)! || shape.get(a)! - shape.get(b)! || position.get(a)! - position.get(b)!);
    return encode(roots, (n) => iterationOf.get(n) === iteration || (constants.has(n) && !literal(n)), literal, kind);
  });
}

function encode(roots: readonly Node[], inside: (n: Node) => boolean, literal: (n: Node) => boolean, kind: (n: Node) => number): Iteration {
  const nodes = orderUntil(roots, (n) => !inside(n)).filter(inside);
  const index = new Map(nodes.map((n, i) => [n, i]));
  const uses: Node[] = [];
  const operands = nodes.map((n) => n.inputs.map((i) => index.get(i) ?? -uses.push(i)));
  const outside = uses.map((u) => `${literal(u) ? "c" : ""}${showType(u.type)}`);
  const key = `${nodes.map((n, i) => `${kind(n)}(${operands[i].join(",")})`).join(";")}|${outside.join(";")}`;
  return { nodes, index, uses, operands, key };
}
