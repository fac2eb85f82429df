/** The layers of a flat graph: which nodes each iteration of its largest static loop stands for, with the updates of its parameters, and which layers are alike. */
import { type Body, type Graph, type Node, order } from "../graph.ts";
import { isConst, rowOf } from "../ops/index.ts";
import { attrsKey } from "../rewrite.ts";

/** Results that are the next value of something. */
interface Update {
  readonly role: string;
  readonly name: string;
  readonly node: Node;
}

interface Layer {
  /** In the order of the graph. */
  readonly nodes: readonly Node[];
  readonly updates: readonly Update[];
  /** Equal for layers of equal structure: what they are named, and constants of their own, may differ. */
  readonly text: string;
}

export interface Layers {
  /** The static loop. */
  readonly loop: string;
  /** The iteration that each layer has in the tags. */
  readonly iterations: readonly number[];
  readonly all: readonly Layer[];
  /** The layer of a node; what belongs to none, or to several, has none. */
  of(n: Node): number | undefined;
  /** The place of a node in its layer. */
  at(n: Node): number;
  /** For each layer: how many layers away from it something reads it, or is read by it; `Infinity`: something outside of all layers reads it. */
  readonly reach: readonly number[];
}

/** The static loop that a loop is of: that of gradients carries the same name with a mark behind it. */
export const nameOf = (loop: string): string => loop.replace(/'+$/, "");

function tagOf(n: Node): { readonly loop: string; readonly iteration: number } | undefined {
  let tag = n.origin.iteration;
  if (!tag) return undefined;
  while (tag.outer) tag = tag.outer;
  return { loop: nameOf(tag.loop), iteration: tag.iteration };
}

/** What a node reads of the graph around it. A gradient names its loss, and does not read it. */
const readBy = (n: Node): readonly Node[] => (rowOf(n).role === "placeholder" ? n.inputs.slice(1) : n.inputs);

/** A value of its own: a constant that only one layer has, or what is handed in. */
export const isOwn = (n: Node): boolean => n.inputs.length === 0 && (isConst(n) || rowOf(n).supply !== undefined);

/** The layers by the static loop with most nodes; `undefined`: there is none. */
export function layersOf(graph: Graph): Layers | undefined {
  const nodes = order(graph.results.map((r) => r.node));
  const loop = largest(nodes);
  if (loop === undefined) return undefined;
  const tagged = new Map<Node, number>();
  for (const n of nodes) {
    const tag = tagOf(n);
    if (tag?.loop === loop && !isOwn(n)) tagged.set(n, tag.iteration);
  }
  const iterations = [...new Set(tagged.values())].sort((a, b) => a - b);
  const rank = new Map(iterations.map((t, i) => [t, i]));
  const layer = new Map<Node, number>();
  for (const [n, iteration] of tagged) layer.set(n, rank.get(iteration)!);
  spread(nodes, layer);
  gather(nodes, graph, layer);
  release(nodes, layer);
  return described(graph, nodes, loop, iterations, layer);
}

function largest(nodes: readonly Node[]): string | undefined {
  const count = new Map<string, number>();
  for (const n of nodes) {
    const tag = tagOf(n);
    if (tag) count.set(tag.loop, (count.get(tag.loop) ?? 0) + 1);
  }
  return [...count].sort((a, b) => b[1] - a[1])[0]?.[0];
}

/** Joined over layers one by one: gradients' squares, whether each stream kept its range. */
const JOINS: ReadonlySet<string> = new Set(["add", "and", "or", "max", "min"]);

/** What is computed from one layer belongs to it; a sum over layers, to the layer that it adds; what is computed from such a sum, to none. */
function spread(nodes: readonly Node[], layer: Map<Node, number>): void {
  // what parameters are handed to decides for what is asked of them: their gradients
  const handed = new Map<Node, number>();
  for (const n of nodes) {
    const l = layer.get(n);
    if (l === undefined) continue;
    for (const x of n.inputs) if (rowOf(x).supply !== undefined) handed.set(x, handed.has(x) && handed.get(x) !== l ? -1 : l);
  }
  const sums = new Set<Node>();
  /** Numbers that follow from sums over layers. */
  const totals = new Set<Node>();
  for (const n of nodes) {
    if (layer.has(n) || n.inputs.length === 0) continue;
    if (rowOf(n).role === "placeholder" && n.inputs.length > 1) {
      const by = layer.get(n.inputs[1]) ?? handed.get(n.inputs[1]) ?? -1;
      if (by >= 0) layer.set(n, by);
      continue;
    }
    const plain = new Set<number>();
    for (const x of n.inputs) {
      const l = layer.get(x);
      if (l !== undefined && !sums.has(x)) plain.add(l);
    }
    const sum = n.inputs.some((x) => sums.has(x));
    const total = n.type.shape.length === 0 && n.inputs.some((x) => sums.has(x) || totals.has(x));
    if (JOINS.has(n.op) && (plain.size > 1 || ((sum || total) && plain.size === 1))) sums.add(n);
    if (plain.size > 0) layer.set(n, Math.max(...plain));
    else if (total) totals.add(n);
  }
}

/** What one layer alone reads belongs to it. */
function gather(nodes: readonly Node[], graph: Graph, layer: Map<Node, number>): void {
  const results = new Set(graph.results.map((r) => r.node));
  const readers = new Map<Node, number>();
  const read = (x: Node, by: number): void => {
    readers.set(x, readers.has(x) && readers.get(x) !== by ? -1 : by);
  };
  for (const n of results) if (!layer.has(n)) read(n, -1);
  for (let i = nodes.length - 1; i >= 0; i--) {
    const n = nodes[i];
    const by = readers.get(n) ?? -1;
    if (!layer.has(n) && by >= 0) layer.set(n, by);
    for (const x of readBy(n)) read(x, layer.get(n) ?? -1);
  }
}

/** What a layer computes for all, without any other, belongs to none: a mask that the first layer makes. */
function release(nodes: readonly Node[], layer: Map<Node, number>): void {
  const free = new Set<Node>();
  for (const n of nodes) {
    const l = layer.get(n);
    if (l !== undefined && readBy(n).every((x) => layer.get(x) === undefined || (layer.get(x) === l && free.has(x)))) free.add(n);
  }
  const out: Node[] = [];
  for (const n of nodes) {
    const l = layer.get(n);
    if (l === undefined) continue;
    for (const x of readBy(n)) if (free.has(x) && Math.abs(layer.get(x)! - l) > 1) out.push(x);
  }
  while (out.length) {
    const n = out.pop()!;
    if (layer.delete(n)) out.push(...readBy(n));
  }
}

function described(
  graph: Graph,
  nodes: readonly Node[],
  loop: string,
  iterations: readonly number[],
  layer: ReadonlyMap<Node, number>,
): Layers {
  const lists = iterations.map(() => [] as Node[]);
  const at = new Map<Node, number>();
  for (const n of nodes) {
    const l = layer.get(n);
    if (l !== undefined) at.set(n, lists[l].push(n) - 1);
  }
  const reach = iterations.map(() => 0);
  const far = (l: number, distance: number): void => {
    reach[l] = Math.max(reach[l], distance);
  };
  for (const n of nodes) {
    const l = layer.get(n);
    for (const x of readBy(n)) {
      const from = layer.get(x);
      if (from === undefined) continue;
      far(from, l === undefined ? Number.POSITIVE_INFINITY : Math.abs(l - from));
      if (l !== undefined) far(l, Math.abs(l - from));
    }
  }
  const updates = iterations.map(() => [] as Update[]);
  for (const { role, name, node } of graph.results) {
    const l = layer.get(node);
    if (l === undefined) continue;
    if (role === "output") far(l, Number.POSITIVE_INFINITY);
    else updates[l].push({ role, name, node });
  }
  const texts = lists.map((list, l) => {
    const lines = list.map((n) => lineOf(n, l, layer, at));
    return [...lines, ...updates[l].map((u) => `${u.role} ${at.get(u.node)}`)].join("\n");
  });
  return {
    loop,
    iterations,
    reach,
    all: lists.map((list, l) => ({ nodes: list, updates: updates[l], text: texts[l] })),
    of: (n) => layer.get(n),
    at: (n) => at.get(n)!,
  };
}

function lineOf(n: Node, l: number, layer: ReadonlyMap<Node, number>, at: ReadonlyMap<Node, number>): string {
  const type = `${n.type.dtype}[${n.type.shape}]${n.backward ? " backward" : ""}`;
  if (isOwn(n)) return `${n.op} ${type}`;
  const named = n.inputs.length - readBy(n).length;
  const inputs = n.inputs.map((x, i) => {
    const from = layer.get(x);
    if (from !== undefined && i >= named) return `${from - l}:${at.get(x)}`;
    return isConst(x) ? `(${attrsKey(x.attrs)})` : `=${x.id}`;
  });
  const { recompute } = n.origin;
  return `${n.op} ${attrsKey(n.attrs)} ${type} ${inputs.join()}${recompute ? ` again ${recompute.index} ${recompute.copy}` : ""}${loopText(n)}`;
}

/** What a loop node has beside its operands. */
const loopText = ({ loop }: Node): string =>
  loop ? ` {${loop.bodies.map(bodyText).join("}{")}} ${JSON.stringify([loop.carried, loop.iterations, loop.sliced])}` : "";

const bodyTexts = new WeakMap<Body, string>();
/** A body as text, equal for equal bodies. */
function bodyText(body: Body): string {
  const known = bodyTexts.get(body);
  if (known !== undefined) return known;
  const at = new Map<Node, number>();
  const lines = order([...body.params, ...body.results]).map((n, i) => {
    at.set(n, i);
    return `${n.op} ${attrsKey(n.attrs)} ${n.type.dtype}[${n.type.shape}] ${n.inputs.map((x) => at.get(x)).join()}${loopText(n)}`;
  });
  const text = `${lines.join("\n")}\n${body.results.map((r) => at.get(r)).join()}`;
  bodyTexts.set(body, text);
  return text;
}
