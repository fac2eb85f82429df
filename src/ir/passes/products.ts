/**
 * Products in their cheapest order. It knows no method: an update of low rank, a scaled row, a row norm are sums of products, and what
 * they cost is counted. Gradients are ordinary nodes by now, so that they profit the same way.
 */

import { graphCost } from "../flops.ts";
import type { Body, Node, Origin } from "../graph.ts";
import { withRoots } from "../rebuild.ts";
import { halvesInOrder, remadeOn, Scope, ScopedBuilder, withBodies, withResults } from "../rewrite.ts";
import type { Pass } from "./pass.ts";
import { Contraction, Parts } from "./products/contract.ts";
import { highest, type Level, levelsOf, Prices } from "./products/prices.ts";
import { type Region, Regions } from "./products/regions.ts";

export const products: Pass = {
  name: "products",
  before: "no placeholders; simplified, so that equal nodes are one",
  after: "contractions are in the cheapest order found; products are distributed over sums with thin terms where that costs less",
  law: "results are equal up to rounding; the cost does not grow",
  optional: true,
  run: (graph, context) => {
    const updated = graph.results.flatMap((r) => (r.role === "param" ? [r.name] : []));
    const trained = new Set([...updated, ...(context.options.trained ?? [])]);
    const out = withRoots(
      graph,
      improve(
        graph.results.map((r) => r.node),
        trained,
        new Map(),
      ),
    );
    const [before, after] = [graphCost(graph), graphCost(out)];
    if (out !== graph)
      context.note(
        `multiply-adds of products: ${before.total.products} before, ${after.total.products} after; elementwise: ${before.total.elements} before, ${after.total.elements} after`,
      );
    return out;
  },
};

/** Regions that can do without the same nodes are decided together. */
interface Cluster {
  readonly regions: Region[];
  readonly inside: Set<Node>;
  /** Those inside that have to exist, whatever is written anew: roots, and what others read. */
  readonly wanted: Set<Node>;
}

/** By how much cheaper a cluster has to be: below that, what is there stays. */
const GAIN = 1e-3;

/** The roots of a region of the graph, written anew. `given`: levels of its parameters. */
function improve(roots: readonly Node[], trained: ReadonlySet<string>, given: ReadonlyMap<Node, Level>): Node[] {
  const ordered = halvesInOrder(roots);
  const levels = levelsOf(ordered, trained, given);
  const prices = new Prices(levels);
  const scope = new Scope();
  const builderAt = (origin: Origin) => new ScopedBuilder(scope, origin);
  const regions = new Regions(ordered, roots, prices, builderAt({ path: "" }));
  const replaced = new Map<Node, Node>();
  for (const cluster of clustersOf(regions, ordered, roots)) {
    const before = [...cluster.inside].reduce((sum, n) => sum + prices.node(n), 0);
    let best: Outcome | undefined;
    for (const distribute of regions.canDistribute(cluster.inside) ? [true, false] : [false]) {
      const outcome = written(cluster, distribute, regions, prices, builderAt);
      if (!best || outcome.cost < best.cost) best = outcome;
    }
    if (best && best.cost < before * (1 - GAIN)) for (const [n, m] of best.replaced) replaced.set(n, m);
  }
  return emitted(ordered, roots, replaced, (n, inputs) => {
    if (!n.loop) return remadeOn(n, inputs);
    const bodies = n.loop.bodies.map((body, index) => improvedBody(n, body, index, trained, levels));
    return withBodies(n, inputs, bodies);
  });
}

function improvedBody(n: Node, body: Body, index: number, trained: ReadonlySet<string>, levels: ReadonlyMap<Node, Level>): Body {
  const { carried, iterations } = n.loop!;
  const given = new Map(
    body.params.map((p, i): [Node, Level] => {
      if (i < carried) return [p, 2];
      const values = iterations.filter((t) => t.body === index).map((t) => levels.get(n.inputs[carried + t.args[i - carried]])!);
      return [p, highest(values)];
    }),
  );
  return withResults(body, improve(body.results, trained, given));
}

function clustersOf(regions: Regions, ordered: readonly Node[], roots: readonly Node[]): Cluster[] {
  const found: Region[] = [];
  const needed = new Set(roots);
  for (let i = ordered.length - 1; i >= 0; i--) {
    const n = ordered[i];
    if (!needed.has(n)) continue;
    const region = regions.regionOf(n, true);
    if (region) found.push(region);
    for (const x of region ? regions.leavesOf(region) : n.inputs) needed.add(x);
  }
  // Union of regions that open a node in common, or share a factor of a thin product.
  const parent = found.map((_, i) => i);
  const find = (i: number): number => {
    let j = i;
    while (parent[j] !== j) j = parent[j] = parent[parent[j]];
    return j;
  };
  const first = new Map<Node, number>();
  found.forEach((region, i) => {
    const shared = [...region.expression.opened, ...regions.leavesOf(region).filter((x) => regions.thinLeaves.has(x))];
    for (const n of shared) {
      const other = first.get(n);
      if (other === undefined) first.set(n, i);
      else parent[find(i)] = find(other);
    }
  });
  const clusters = new Map<number, Cluster>();
  found.forEach((region, i) => {
    const key = find(i);
    const cluster = clusters.get(key) ?? { regions: [], inside: new Set(), wanted: new Set() };
    clusters.set(key, cluster);
    cluster.regions.push(region);
    for (const n of region.expression.opened) {
      cluster.inside.add(n);
      if (needed.has(n)) cluster.wanted.add(n);
    }
  });
  return [...clusters.values()];
}

interface Outcome {
  readonly replaced: ReadonlyMap<Node, Node>;
  readonly cost: number;
}

/** The cluster written anew, with or without distributing over sums; its cost counts what has to stay as well. */
function written(
  cluster: Cluster,
  distribute: boolean,
  regions: Regions,
  prices: Prices,
  builderAt: (origin: Origin) => ScopedBuilder,
): Outcome {
  const inside = [...cluster.inside].sort((p, q) => regions.at(q) - regions.at(p));
  const needed = new Set(cluster.wanted);
  const chosen = new Map<Node, Region>();
  const kept: Node[] = [];
  for (const n of inside) {
    if (!needed.has(n)) continue;
    const region = regions.regionOf(n, distribute);
    if (region) chosen.set(n, region);
    else kept.push(n);
    for (const x of region ? regions.leavesOf(region) : n.inputs) if (cluster.inside.has(x)) needed.add(x);
  }
  const parts = new Parts();
  const replaced = new Map<Node, Node>();
  for (const n of inside.reverse()) {
    if (!needed.has(n)) continue;
    const region = chosen.get(n) ?? regions.single(n);
    if (!region) continue;
    const contraction = new Contraction(builderAt(n.origin), region.indices, parts, prices);
    if (chosen.has(n)) replaced.set(n, contraction.build(region.expression, n.type.shape as readonly number[]));
    else contraction.register(region.expression, n);
  }
  let cost = kept.reduce((sum, n) => sum + prices.node(n), 0);
  const seen = new Set<Node>();
  const count = (n: Node): void => {
    if (seen.has(n) || regions.isOriginal(n)) return;
    seen.add(n);
    cost += prices.node(n);
    for (const x of n.inputs) count(x);
  };
  for (const n of replaced.values()) count(n);
  return { replaced, cost };
}

/** The graph with nodes replaced; what replaces them stands on nodes of the old graph, which are rebuilt as well. */
function emitted(
  ordered: readonly Node[],
  roots: readonly Node[],
  replaced: ReadonlyMap<Node, Node>,
  rebuilt: (n: Node, inputs: readonly Node[]) => Node,
): Node[] {
  const done = new Map<Node, Node>();
  const emit = (n: Node): Node => {
    const known = done.get(n);
    if (known) return known;
    const made = remadeOn(n, n.inputs.map(emit));
    done.set(n, made);
    return made;
  };
  for (const n of ordered) {
    const better = replaced.get(n);
    done.set(
      n,
      better
        ? emit(better)
        : rebuilt(
            n,
            n.inputs.map((x) => done.get(x)!),
          ),
    );
  }
  return roots.map((r) => done.get(r)!);
}
