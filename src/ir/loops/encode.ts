/** The structure of a turn, as a key that is equal for turns that can share a body. */
import type { Node } from "../graph.ts";
import { showType } from "../ops/index.ts";
import { orderUntil } from "../rebuild.ts";
import { attrsKey } from "../rewrite.ts";
import type { Membership } from "./turns.ts";

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

export interface Turn {
  /** The nodes of the turn, and the constants they use, operands first. */
  readonly nodes: readonly Node[];
  readonly index: ReadonlyMap<Node, number>;
  /** Operands from outside the turn, one entry a use: turns of one key use them in the same order. */
  readonly uses: readonly Node[];
  /** Operands of each node: its place in `nodes`, or −1 − its place in `uses`. */
  readonly operands: readonly (readonly number[])[];
  readonly key: string;
}

/** What a node computes, apart from its operands. Two loops are never the same. */
export const kindOf = (n: Node): string => `${n.op}{${attrsKey(n.attrs)}}${showType(n.type)}${n.loop ? `#${n.id}` : ""}`;

/**
 * The turns' structure. The nodes of a turn are listed in an order that hangs on the turn alone: depth first from the nodes that no node of
 * the turn uses, deepest first, and among equals by structure.
 */
export function encodeTurns(nodes: readonly Node[], { turnOf, numbers, constants }: Membership): Turn[] {
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
  // A constant that is written down may differ from turn to turn, so its value is no part of the structure.
  const literal = (n: Node) => constants.has(n) && n.attrs.data !== undefined;
  for (const n of nodes) {
    const turn = turnOf.get(n);
    if (turn === undefined && !constants.has(n)) continue;
    const inside = (i: Node) => (constants.has(i) ? !literal(i) : turnOf.get(i) === turn);
    depth.set(n, 1 + Math.max(0, ...n.inputs.map((i) => (inside(i) ? depth.get(i)! : 0))));
    const operands = n.inputs.map((i) => (inside(i) ? shape.get(i) : `?${showType(i.type)}`));
    shape.set(n, intern.id(`${literal(n) ? showType(n.type) : kind(n)}(${operands.join(" ")})`));
    if (turn === undefined) continue;
    members[turn].push(n);
    for (const i of n.inputs) if (turnOf.get(i) === turn) used.add(i);
  }
  const position = new Map(nodes.map((n, i) => [n, i]));
  return members.map((of, turn) => {
    const roots = of.filter((n) => !used.has(n));
    roots.sort((a, b) => depth.get(b)! - depth.get(a)! || shape.get(a)! - shape.get(b)! || position.get(a)! - position.get(b)!);
    return encode(roots, (n) => turnOf.get(n) === turn || (constants.has(n) && !literal(n)), literal, kind);
  });
}

function encode(roots: readonly Node[], inside: (n: Node) => boolean, literal: (n: Node) => boolean, kind: (n: Node) => number): Turn {
  const nodes = orderUntil(roots, (n) => !inside(n)).filter(inside);
  const index = new Map(nodes.map((n, i) => [n, i]));
  const uses: Node[] = [];
  const operands = nodes.map((n) => n.inputs.map((i) => index.get(i) ?? -uses.push(i)));
  const outside = uses.map((u) => `${literal(u) ? "c" : ""}${showType(u.type)}`);
  const key = `${nodes.map((n, i) => `${kind(n)}(${operands[i].join(",")})`).join(";")}|${outside.join(";")}`;
  return { nodes, index, uses, operands, key };
}
