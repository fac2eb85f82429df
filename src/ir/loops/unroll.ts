/** Iterations loops back into their iterations, one behind the other. */
import { Bug } from "../errors.ts";
import { type Graph, type Node, node, order } from "../graph.ts";
import { attrsOf, rowOf } from "../ops/index.ts";
import { constantNodes, isGet, readOf, rebuild, withInputs, withRoots } from "../rebuild.ts";
import { originsIn } from "./names.ts";

/**
 * The graph without loops: each iteration has its own nodes; what is constant in a body is shared by the iterations. Only what is read exists. Nodes
 * get their iteration's tag and path.
 */
export function unroll(graph: Graph): Graph {
  const roots = unrollNodes(graph.results.map((r) => r.node));
  return withRoots(graph, roots);
}

function unrollNodes(roots: readonly Node[]): Node[] {
  const reads = new Map<Node, Node[]>();
  for (const n of order(roots)) {
    if (!isGet(n)) continue;
    const loop = n.inputs[0];
    if (!reads.has(loop)) reads.set(loop, []);
    reads.get(loop)!.push(n);
  }
  const iterations = new Map<Node, readonly ReadonlyMap<number, Node>[]>();
  return rebuild(roots, new Map(), (n, inputs) => {
    if (n.loop) {
      iterations.set(n, unrollLoop(n, inputs, reads.get(n) ?? []));
      return n;
    }
    if (!isGet(n)) return withInputs(n, inputs);
    const { loop, iteration, result } = readOf(n);
    return iterations.get(loop)![iteration].get(result)!;
  });
}

/** For each iteration, the results that something needs. */
function unrollLoop(n: Node, inputs: readonly Node[], reads: readonly Node[]): ReadonlyMap<number, Node>[] {
  const { carried, bodies, iterations } = n.loop!;
  if (n.loop!.sliced) throw new Bug("a loop over slices is not written out: backends lower it");
  const flat = bodies.map((b) => unrollNodes(b.results));
  const shared = flat.map((results) => new Map([...constantNodes(order(results))].map((x) => [x, undefined as Node | undefined])));
  const needed = neededResults(n, flat, reads);
  const originIn = originsIn(n);
  let flowing: ReadonlyMap<number, Node> = new Map(inputs.slice(0, carried).map((x, k) => [k, x]));
  return iterations.map((iteration, t) => {
    const { params } = bodies[iteration.body];
    const known = new Map<Node, Node>();
    params.forEach((p, i) => {
      const value = i < carried ? flowing.get(i) : inputs[carried + iteration.args[i - carried]];
      if (value) known.set(p, value);
    });
    const constants = shared[iteration.body];
    const wanted = [...needed[t]].sort((p, q) => p - q);
    const values = rebuild(
      wanted.map((place) => flat[iteration.body][place]),
      known,
      (x, from) => {
        const old = constants.get(x);
        if (old) return old;
        if (!constants.has(x)) return node(x.op, from, x.attrs, x.type, originIn(t, x.origin), x.loop);
        const made = node(x.op, from, x.attrs, x.type, x.origin);
        constants.set(x, made);
        return made;
      },
    );
    const out = new Map(wanted.map((place, i) => [place, values[i]]));
    flowing = new Map([...out].filter(([place]) => place < carried));
    return out;
  });
}

/** For each iteration, the places of its results that are read outside, or by what a later iteration needs. */
function neededResults(n: Node, flat: readonly (readonly Node[])[], reads: readonly Node[]): Set<number>[] {
  const { carried, iterations } = n.loop!;
  const needed = iterations.map(() => new Set<number>());
  for (const get of reads) needed[readOf(get).iteration].add(readOf(get).result);
  const entered = new Map<string, readonly number[]>();
  for (let t = iterations.length - 1; t > 0; t--) {
    const places = [...needed[t]].sort((p, q) => p - q);
    const key = `${iterations[t].body}:${places.join(",")}`;
    let enters = entered.get(key);
    if (!enters) {
      const reached = order(places.map((place) => flat[iterations[t].body][place]));
      const args = reached.filter((x) => rowOf(x).supply === "arg").map((x) => attrsOf(x, "arg").index);
      enters = args.filter((i) => i < carried);
      entered.set(key, enters);
    }
    for (const k of enters) needed[t - 1].add(k);
  }
  return needed;
}
