/** Which nodes are written anew together: regions of linear algebra, and clusters of them that can do without the same nodes. */
import { type Node, sizes } from "../../graph.ts";
import { axesOfDot, isExpand, isNeg, isReshape, permuteOrder, rowOf, summedAxes } from "../../ops/index.ts";
import type { ScopedBuilder } from "../../rewrite.ts";
import { constantAxes, elements, isMinus, isPlus, splat, unitReshape } from "../rules/facts.ts";
import type { Prices } from "./prices.ts";
import { type Expression, expressionOf, Indices } from "./terms.ts";

export interface Region {
  readonly root: Node;
  readonly expression: Expression;
  readonly indices: Indices;
}

const contracts = (n: Node): boolean => axesOfDot(n) !== undefined || summedAxes(n) !== undefined;
const moves = (n: Node): boolean =>
  permuteOrder(n) !== undefined || isExpand(n) || (isReshape(n) && unitReshape(sizes(n.inputs[0]), sizes(n)) !== undefined);
const scales = (n: Node): boolean => rowOf(n).role === "scale" && n.inputs.length === 2;
/** Nodes that a region can have at its root: what they do can be done in another order. */
const canRoot = (n: Node): boolean => n.type.dtype === "f32" && (contracts(n) || scales(n));

export class Regions {
  private readonly position: ReadonlyMap<Node, number>;
  private readonly materialised: ReadonlySet<Node>;
  private readonly distributable: ReadonlySet<Node>;
  /** Regions by their roots, without and with distributing. */
  private readonly found = [new Map<Node, Region | undefined>(), new Map<Node, Region | undefined>()] as const;
  /** Leaves of thin products in distributable sums: what multiplies them is shared among regions. */
  readonly thinLeaves: ReadonlySet<Node>;

  constructor(
    readonly ordered: readonly Node[],
    roots: readonly Node[],
    prices: Prices,
    private readonly b: ScopedBuilder,
  ) {
    this.position = new Map(ordered.map((n, i) => [n, i]));
    this.materialised = materialisedOf(ordered, roots);
    const found = distributableOf(ordered, prices);
    this.distributable = found.sums;
    this.thinLeaves = found.leaves;
  }

  isOriginal(n: Node): boolean {
    return this.position.has(n);
  }
  at(n: Node): number {
    return this.position.get(n)!;
  }
  /** Whether one of the nodes is a sum that a product may be distributed over. */
  canDistribute(nodes: ReadonlySet<Node>): boolean {
    for (const n of nodes) if (this.distributable.has(n)) return true;
    return false;
  }

  /** The region under a node, if writing it anew can change anything. */
  regionOf(n: Node, distribute: boolean): Region | undefined {
    if (!canRoot(n)) return undefined;
    const known = this.found[distribute ? 1 : 0];
    if (!known.has(n)) known.set(n, this.region(n, distribute));
    return known.get(n);
  }

  private region(n: Node, distribute: boolean): Region | undefined {
    const indices = new Indices();
    const expression = expressionOf(n, { distributes: (s) => distribute && this.distributable.has(s), b: this.b }, indices);
    const { opened } = expression;
    if (opened.some((s) => this.distributable.has(s) && distribute)) return { root: n, expression, indices };
    const free = opened.filter((d) => contracts(d) && (d === n || !this.materialised.has(d)));
    if (free.length < 2 || !free.some((d) => axesOfDot(d))) return undefined;
    return { root: n, expression, indices };
  }

  /** The contraction alone, to be found by others. */
  single(n: Node): Region | undefined {
    if (!contracts(n)) return undefined;
    const indices = new Indices();
    return { root: n, expression: expressionOf(n, { distributes: () => false, b: this.b }, indices), indices };
  }

  /** Nodes of the graph that the factors of a region are, or are made of. */
  leavesOf(region: Region): Node[] {
    const out = new Set<Node>();
    const visit = (n: Node): void => {
      if (this.isOriginal(n)) out.add(n);
      else for (const x of n.inputs) visit(x);
    };
    for (const t of region.expression.terms) for (const f of t.factors) visit(f.node);
    return [...out];
  }
}

/** Nodes whose value is wanted by more than contractions, through movement, scalings, and full products that are only summed. */
function materialisedOf(ordered: readonly Node[], roots: readonly Node[]): Set<Node> {
  const out = new Set(roots);
  /** Nodes that something else than a sum over axes reads. */
  const notSummed = new Set(roots);
  for (let i = ordered.length - 1; i >= 0; i--) {
    const user = ordered[i];
    const float = user.type.dtype === "f32";
    const sums = float && summedAxes(user) !== undefined;
    const passes = float && (moves(user) || isNeg(user) || scales(user));
    for (const x of user.inputs) if (!sums && (!passes || notSummed.has(user))) notSummed.add(x);
    if (float && contracts(user)) continue;
    const byNumber = isNeg(user) || (scales(user) && user.inputs.some((x) => splat(x) !== undefined));
    if (float && byNumber) continue;
    const full = scales(user) && !user.inputs.some((x) => constantAxes(x).size > 0);
    if (passes && !out.has(user) && (!full || !notSummed.has(user))) continue;
    for (const x of user.inputs) out.add(x);
  }
  return out;
}

interface Content {
  /** Whether there are products that are much smaller than what they make. */
  readonly thin: boolean;
  /** Whether there are products that are not. */
  readonly dense: boolean;
}
const NOTHING: Content = { thin: false, dense: false };

/**
 * Sums of weights with a thin product in them, such as W + B·A: written as several terms, what multiplies them needs no tensor of the
 * shape of W. Fixed sums are computed once, at loading, so they stay; a sum with a dense product has to be computed anyway. `leaves`: the
 * factors of these thin products. A stream that each layer adds to twice holds twice as many paths with each layer, so no path is walked
 * on its own.
 */
function distributableOf(ordered: readonly Node[], prices: Prices): { sums: Set<Node>; leaves: Set<Node> } {
  const contents = new Map<Node, Content>();
  const of = (x: Node): Content => contents.get(x) ?? NOTHING;
  const sums = new Set<Node>();
  for (const n of ordered) {
    const content = contentOf(n, of);
    if (content !== NOTHING) contents.set(n, content);
    if (!(isPlus(n) || isMinus(n)) || n.type.dtype !== "f32" || prices.level(n) !== 1) continue;
    if (content.thin && !content.dense) sums.add(n);
  }
  const leaves = new Set<Node>();
  const inside = new Set<Node>(sums);
  for (const n of inside)
    for (const x of n.inputs) {
      if (of(x).thin) inside.add(x);
      else if (axesOfDot(n)) leaves.add(stripped(x));
    }
  return { sums, leaves };
}

function contentOf(n: Node, of: (x: Node) => Content): Content {
  const parts = n.inputs.map(of);
  if (axesOfDot(n)) {
    const [x, y] = n.inputs;
    const thin = 2 * (elements(sizes(x)) + elements(sizes(y))) < elements(sizes(n));
    return thin ? { thin, dense: parts.some((c) => c.dense) } : { thin, dense: true };
  }
  const through = moves(n) || isNeg(n) || isPlus(n) || isMinus(n) || (scales(n) && n.inputs.some((x) => constantAxes(x).size > 0));
  if (!through || parts.every((c) => c === NOTHING)) return NOTHING;
  return { thin: parts.some((c) => c.thin), dense: parts.some((c) => c.dense) };
}

/** Below movement and scalings: the tensor that is moved. */
function stripped(n: Node): Node {
  if (moves(n) || isNeg(n)) return stripped(n.inputs[0]);
  if (scales(n)) {
    const i = n.inputs.findIndex((x) => constantAxes(x).size === 0);
    if (i >= 0 && n.inputs.some((x) => constantAxes(x).size > 0)) return stripped(n.inputs[i]);
  }
  return n;
}
