/**
 * Layers that are alike go through the passes once. Of a run of equal layers some in the middle are taken out before the passes (`shorten`) and put in again
 * behind them (`lengthen`): a pass that treats the layers around the gap alike would have treated those in it the same way. Where it has not, or a graph has
 * no such run, nothing is taken out.
 */
import { type Attrs, type Graph, type Node, node, type Origin, type Result } from "../graph.ts";
import { attrsKey } from "../rewrite.ts";
import { isOwn, type Layers, layersOf, nameOf } from "./layers.ts";

/**
 * How many of a run stay below the gap and above it. Two on each side of the gap must come out of the passes equal; those further away may be changed by what is
 * no layer, and above, where a backward half begins, that reaches further.
 */
const BELOW = 3;
const ABOVE = 4;
/** Fewer are not worth the search. */
const LEAST = 3;

export interface Shortened {
  readonly graph: Graph;
  /** Layers that were taken out, and that there are with them. */
  readonly out: number;
  readonly of: number;
  /** The graph of all layers, from what passes made of the shorter one; `undefined`: they did not treat equal layers alike. */
  lengthen(made: Graph): Graph | undefined;
}

/** The graph with fewer layers; `undefined` where it has no long run of equal ones. */
export function shorten(graph: Graph): Shortened | undefined {
  const layers = layersOf(graph);
  if (!layers) return undefined;
  const run = longestRun(layers);
  const out = run.length - BELOW - ABOVE;
  if (out < LEAST) return undefined;
  /** The last layer before the gap, and the first behind it. */
  const last = run.from + BELOW - 1;
  const next = last + out + 1;
  if (hidden(layers, last, next)) return undefined;
  const { all, of, at } = layers;
  const gone = (l: number | undefined): boolean => l !== undefined && l > last && l < next;
  const spliced = new Splice((n) => {
    const l = of(n);
    return n.inputs.map((x) => {
      const from = of(x);
      if (!gone(from)) return x;
      return all[l === next ? last : next].nodes[at(x)];
    });
  });
  const results = graph.results.filter((r) => r.role === "output" || !gone(of(r.node)));
  const short: Graph = { results: results.map((r) => ({ ...r, node: spliced.of(r.node) })) };
  return { graph: short, out, of: all.length, lengthen: (made) => lengthened(graph, made, layers, last, out) };
}

/** Whether the layers beside the gap agree on a constant that those in it do not have. */
function hidden({ all }: Layers, last: number, next: number): boolean {
  const textAt = (l: number, i: number): string => attrsKey(all[l].nodes[i].attrs);
  const between = Array.from({ length: next - last - 1 }, (_, k) => last + 1 + k);
  return all[last].nodes.some((n, i) => {
    if (!isOwn(n)) return false;
    const text = attrsKey(n.attrs);
    return [last - 1, next, next + 1].every((l) => textAt(l, i) === text) && between.some((l) => textAt(l, i) !== text);
  });
}

/** The longest run of equal layers that read no further than to their neighbours. */
function longestRun({ all, reach }: Layers): { readonly from: number; readonly length: number } {
  let best = { from: 0, length: 0 };
  let from = 0;
  for (let l = 0; l <= all.length; l++) {
    if (l < all.length && l > from && all[l].text === all[from].text && reach[l] <= 1) continue;
    if (l - from > best.length) best = { from, length: l - from };
    from = l;
  }
  return best;
}

/** A graph rebuilt from other operands. */
class Splice {
  private readonly known = new Map<Node, Node>();
  constructor(private readonly inputsOf: (n: Node) => readonly Node[]) {}
  of(root: Node): Node {
    const stack = [root];
    while (stack.length) {
      const n = stack[stack.length - 1];
      if (this.known.has(n)) {
        stack.pop();
        continue;
      }
      const inputs = this.inputsOf(n);
      const open = inputs.filter((x) => !this.known.has(x));
      if (open.length > 0) {
        stack.push(...open);
        continue;
      }
      stack.pop();
      const now = inputs.map((x) => this.known.get(x)!);
      const same = now.every((x, i) => x === n.inputs[i]);
      this.known.set(n, same ? n : node(n.op, now, n.attrs, n.type, n.origin, n.loop));
    }
    return this.known.get(root)!;
  }
}

/** A node of a layer, so many layers behind the one it was made in. */
interface Copy {
  readonly place: number;
  readonly iteration: number;
}

function lengthened(whole: Graph, made: Graph, before: Layers, last: number, out: number): Graph | undefined {
  const layers = layersOf(made);
  if (layers?.loop !== before.loop || layers.all.length !== before.all.length - out) return undefined;
  const { all, of, at, reach } = layers;
  const next = last + 1;
  for (const l of [last - 1, last, next, next + 1]) if (all[l].text !== all[last].text || reach[l] > 1) return undefined;
  const names = new Names(before, layers, last, out);
  if (!names.complete) return undefined;

  const base = all[last].nodes;
  const known = new Map<Node, Node>();
  const copies = Array.from({ length: out + 1 }, () => new Array<Node | undefined>(base.length));
  const copyAt = (place: number, iteration: number): Node | Copy =>
    iteration === 0 ? base[place] : iteration > out ? all[next].nodes[place] : { place, iteration };
  const inputsOf = (n: Node): (Node | Copy)[] => {
    const l = of(n);
    return n.inputs.map((x) => {
      const from = of(x);
      if (l === last && from === next) return copyAt(at(x), 1);
      return l === next && from === last ? copyAt(at(x), out) : x;
    });
  };
  const inputsOfCopy = ({ place, iteration }: Copy): (Node | Copy)[] =>
    base[place].inputs.map((x) => {
      const from = of(x);
      return from === undefined ? x : copyAt(at(x), iteration + from - last);
    });
  const done = (x: Node | Copy): Node | undefined => ("place" in x ? copies[x.iteration][x.place] : known.get(x));
  const build = (root: Node | Copy): Node => {
    const stack = [root];
    while (stack.length) {
      const x = stack[stack.length - 1];
      if (done(x)) {
        stack.pop();
        continue;
      }
      const inputs = "place" in x ? inputsOfCopy(x) : inputsOf(x);
      const open = inputs.filter((y) => !done(y));
      if (open.length > 0) {
        stack.push(...open);
        continue;
      }
      stack.pop();
      const now = inputs.map((y) => done(y)!);
      if ("place" in x) {
        const n = base[x.place];
        copies[x.iteration][x.place] = node(
          n.op,
          now,
          names.attrs(x.place, x.iteration),
          n.type,
          names.origin(n.origin, x.iteration),
          n.loop,
        );
      } else known.set(x, now.every((y, i) => y === x.inputs[i]) ? x : node(x.op, now, x.attrs, x.type, x.origin, x.loop));
    }
    return done(root)!;
  };

  const here = new Map(made.results.map((r) => [`${r.role} ${r.name}`, r]));
  const results: Result[] = [];
  for (const r of whole.results) {
    const own = here.get(`${r.role} ${r.name}`);
    if (own) {
      results.push({ ...own, node: build(own.node) });
      continue;
    }
    const l = before.of(r.node)!;
    const like = before.all[last].updates[before.all[l].updates.findIndex((u) => u.role === r.role && u.name === r.name)];
    const of = here.get(`${like.role} ${like.name}`);
    if (!of || layers.of(of.node) !== last) return undefined;
    results.push({ ...of, name: r.name, node: build({ place: at(of.node), iteration: l - last }) });
  }
  // what passes add, such as whether streams kept their range
  const named = new Set(whole.results.map((r) => `${r.role} ${r.name}`));
  for (const r of made.results) if (!named.has(`${r.role} ${r.name}`)) results.push({ ...r, node: build(r.node) });
  return { results };
}

/** What is a layer's own: names, constants, paths. */
class Names {
  /** Whether all of it is known of the layers that were taken out. */
  readonly complete: boolean;
  /** Of the layer before the gap: by place, the attributes in each layer behind it. */
  private readonly own = new Map<number, (iteration: number) => Attrs>();
  private readonly paths: (Map<string, string> | undefined)[] = [];

  constructor(
    private readonly before: Layers,
    layers: Layers,
    private readonly last: number,
    out: number,
  ) {
    /** Places in the layer as it was, by what stands there. */
    const places = new Map<string, number>();
    before.all[last].nodes.forEach((n, i) => {
      if (isOwn(n)) places.set(attrsKey(n.attrs), i);
    });
    let complete = true;
    layers.all[last].nodes.forEach((n, i) => {
      if (!isOwn(n)) return;
      const beside = [last - 1, last + 1, last + 2].map((l) => layers.all[l].nodes[i].attrs);
      if (beside.every((a) => attrsKey(a) === attrsKey(n.attrs))) return;
      const place = places.get(attrsKey(n.attrs));
      const was = [last - 1, last + out + 1, last + out + 2];
      if (place === undefined || was.some((l, k) => attrsKey(before.all[l].nodes[place].attrs) !== attrsKey(beside[k]))) complete = false;
      else this.own.set(i, (iteration) => before.all[last + iteration].nodes[place].attrs);
    });
    this.complete = complete;
    this.base = layers.all[last].nodes;
  }
  private readonly base: readonly Node[];

  attrs(place: number, iteration: number): Attrs {
    return this.own.get(place)?.(iteration) ?? this.base[place].attrs;
  }

  origin(from: Origin, iteration: number): Origin {
    const number = this.before.iterations[this.last + iteration];
    const path = this.path(from.path, iteration);
    const tag = from.iteration && renumbered(from.iteration, this.before.loop, number);
    const recompute = from.recompute && { ...from.recompute, part: `${from.recompute.part} ${number}` };
    return { ...from, path, ...(tag && { iteration: tag }), ...(recompute && { recompute }) };
  }

  /** The path of the same place in another layer: the longest beginning that is known, and the rest as it is. */
  private path(path: string, iteration: number): string {
    let known = this.paths[iteration];
    if (!known) {
      known = new Map();
      const [from, to] = [this.before.all[this.last].nodes, this.before.all[this.last + iteration].nodes];
      for (const [i, n] of from.entries()) known.set(n.origin.path, to[i].origin.path);
      this.paths[iteration] = known;
    }
    for (let end = path.length; end > 0; end = path.lastIndexOf(".", end - 1)) {
      const other = known.get(path.slice(0, end));
      if (other === undefined) continue;
      known.set(path, other + path.slice(end));
      return other + path.slice(end);
    }
    return path;
  }
}

/** The tag with another iteration of this loop. */
function renumbered(tag: NonNullable<Origin["iteration"]>, loop: string, iteration: number): NonNullable<Origin["iteration"]> {
  if (tag.outer) return { ...tag, outer: renumbered(tag.outer, loop, iteration) };
  return nameOf(tag.loop) === loop ? { ...tag, iteration } : tag;
}
