/**
 * What computing costs, in multiply-adds. Beside arithmetic, what is stored counts: an element written and read again costs as much as
 * some multiply-adds, and one that has the shape of a weight may have to live between the halves of a step.
 */

import { elementsOf, multiplyAdds } from "../../flops.ts";
import { type Node, sizes } from "../../graph.ts";
import { isDraw, rowOf } from "../../ops/index.ts";
import { elements } from "../rules/facts.ts";

/** 0: fixed at loading · 1: changes with the step, does not grow with the batch · 2: made from the batch. */
export type Level = 0 | 1 | 2;

/** Multiply-adds that storing an element and reading it again is worth, by level. What is fixed at loading costs memory alone. */
const STORE: Readonly<Record<Level, number>> = { 0: 2, 1: 128, 2: 16 };
const WEIGHT = 1 << 16;
/** An elementwise function is computed where its operand is made or read. */
const MAP = 2;
export const highest = (levels: readonly Level[]): Level => Math.max(0, ...levels) as Level;

export class Prices {
  constructor(private readonly levels: Map<Node, Level>) {}

  /** Of a node of the graph, or of one made of such nodes. */
  level(n: Node): Level {
    const known = this.levels.get(n);
    if (known !== undefined) return known;
    const level = highest(n.inputs.map((x) => this.level(x)));
    this.levels.set(n, level);
    return level;
  }

  /** Multiply-adds, or additions, of a contraction or sum. What is fixed is computed once, at loading. */
  product(work: number, level: Level): number {
    return level === 0 ? 0 : work;
  }
  map(size: number): number {
    return MAP * size;
  }
  stored(size: number, level: Level): number {
    return STORE[level] * size;
  }

  /** What it costs beside, that a tensor is as large as a frozen weight that it is made of: more than to scale what the weight is multiplied with. */
  weight(size: number): number {
    return WEIGHT * size;
  }

  /** Of one node of a graph. */
  node(n: Node): number {
    const level = this.level(n);
    const size = elements(sizes(n));
    const work = multiplyAdds(n);
    const row = rowOf(n);
    if (work > 0 || row.role === "reduce") return this.product(work || elementsOf(n), level) + this.stored(size, level);
    if (!row.scalar) return 0;
    return this.map(size) + (level === 2 ? 0 : this.stored(size, level));
  }
}

/** Levels of the nodes of a region, operands first. `given` are those of its parameters. */
export function levelsOf(ordered: readonly Node[], trained: ReadonlySet<string>, given: ReadonlyMap<Node, Level>): Map<Node, Level> {
  const out = new Map<Node, Level>(given);
  for (const n of ordered) {
    if (out.has(n)) continue;
    out.set(n, sourceLevel(n, trained) ?? highest(n.inputs.map((x) => out.get(x)!)));
  }
  return out;
}

function sourceLevel(n: Node, trained: ReadonlySet<string>): Level | undefined {
  const { supply } = rowOf(n);
  if (supply === "param") return trained.has(String(n.attrs.name)) ? 1 : 0;
  if (supply === "state") return 1;
  if (supply === "input") return n.type.shape.length === 0 ? 1 : 2;
  if (supply === "arg") return 2;
  if (isDraw(n)) return 2;
  return n.loop ? 2 : undefined;
}
