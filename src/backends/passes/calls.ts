/**
 * What is computed twice, by the same kernels. The forward half computes a part, and the backward half recomputes it from rebuilt operands;
 * if one bit differed, streams rebuilt from it would drift apart. So a part becomes a body, which both uses run: a loop of one iteration each, lowered
 * once, whoever reads which of its values.
 */
import { type Body, Bug, type Graph, type Node, node, order, type Result } from "../../ir/graph.ts";
import { LOOP_TYPE, makeArg } from "../../ir/make.ts";
import { rowOf } from "../../ir/ops/index.ts";
import type { Pass } from "../../ir/passes/pass.ts";
import { exportRead, withInputs } from "../../ir/rebuild.ts";
import { attrsKey } from "../../ir/rewrite.ts";
import { isTable, transparent } from "../kernels/emit.ts";
import { isFence, isLeaf } from "../kernels/roots.ts";

/** One of the two uses of a part. */
interface Use {
  readonly members: Map<number, Node>;
  /** Members that something outside reads. */
  readonly read: Set<number>;
}
/** A use as a run of the part's body. */
interface Call {
  readonly body: Body;
  readonly args: readonly Node[];
  /** Members that leave the body, by their place among its results. */
  readonly results: readonly Node[];
}

export const calls: Pass = {
  name: "calls",
  before: "parts of loops that run backwards to the bit stand twice, with their numbers",
  after: "each such part is a body, which both halves run: a loop of one iteration each",
  law: "every result is the same, and both halves have the same bits",
  doubles: true,
  run: (graph) => withCalls(graph),
};

/** The graph with its parts as loops of one iteration. */
function withCalls(graph: Graph): Graph {
  const nodes = order(graph.results.map((r) => r.node));
  const calls = callsOf(nodes, graph.results);
  if (calls.size === 0) return graph;
  const loops = new Map<Call, Node>();
  const known = new Map<Node, Node>();
  const needs = (n: Node): readonly Node[] => calls.get(n)?.args ?? n.inputs;
  for (const root of graph.results.map((r) => r.node)) {
    const stack = [root];
    while (stack.length) {
      const n = stack[stack.length - 1];
      const open = known.has(n) ? [] : needs(n).filter((x) => !known.has(x));
      if (open.length > 0) {
        if (stack.length > nodes.length) throw new Bug(`parts around ${n.op} of ${n.origin.path} need each other`);
        stack.push(open[0]);
        continue;
      }
      stack.pop();
      if (known.has(n)) continue;
      const inputs = needs(n).map((x) => known.get(x)!);
      const call = calls.get(n);
      known.set(n, call ? read(call, n, inputs, loops) : withInputs(n, inputs));
    }
  }
  return { results: graph.results.map((r): Result => ({ ...r, node: known.get(r.node)! })) };
}

function read(call: Call, n: Node, inputs: readonly Node[], loops: Map<Call, Node>): Node {
  let loop = loops.get(call);
  if (!loop) {
    const iterations = [{ body: 0, args: inputs.map((_, i) => i) }];
    loop = node("loop", inputs, {}, LOOP_TYPE, origin(n), { carried: 0, bodies: [call.body], iterations });
    loops.set(call, loop);
  }
  return exportRead(loop, 0, call.results.indexOf(n), n);
}
const origin = (n: Node): Node["origin"] => ({ path: n.origin.path, ...(n.backward && { half: "backward" }) });

/** The call that gives each member of a part that is read outside of it. */
function callsOf(nodes: readonly Node[], results: readonly Result[]): Map<Node, Call> {
  const parts = new Map<string, readonly [Use, Use]>();
  // what a part computed from frozen weights alone is computed at loading, and handed in from then on
  const partOf = (n: Node): Node["origin"]["recompute"] => (rowOf(n).supply === undefined ? n.origin.recompute : undefined);
  const useOf = (n: Node): Use | undefined => {
    const recompute = partOf(n);
    return recompute && parts.get(recompute.part)?.[recompute.copy ? 1 : 0];
  };
  const empty = (): Use => ({ members: new Map(), read: new Set() });
  for (const n of nodes) {
    const recompute = partOf(n);
    if (!recompute) continue;
    if (!parts.has(recompute.part)) parts.set(recompute.part, [empty(), empty()]);
    useOf(n)!.members.set(recompute.index, n);
  }
  for (const n of nodes) for (const x of n.inputs) if (useOf(x) && useOf(x) !== useOf(n)) useOf(x)!.read.add(x.origin.recompute!.index);
  for (const r of results) useOf(r.node)?.read.add(r.node.origin.recompute!.index);

  const calls = new Map<Node, Call>();
  for (const uses of parts.values()) {
    // what one half alone computes is a body as well, so that both ways of having it agree
    const both = uses.filter((u) => u.members.size > 0);
    // what one half alone still has is no part of what both compute: whoever reads it has it computed apart
    const places = [...new Set(both.flatMap((u) => [...u.read]))].filter((i) => both.every((u) => u.members.has(i))).sort((p, q) => p - q);
    if (places.length === 0) continue;
    let first: { body: Body; text: string } | undefined;
    for (const use of both) {
      const out = places.map((i) => use.members.get(i)!);
      const made = outlined(
        out,
        (n) => useOf(n) === use,
        (n) => useOf(n) !== undefined,
      );
      first ??= made;
      // what rewriting made differ has a body of its own; that the bits agree all the same is checked at every step
      const { body } = made.text === first.text ? first : made;
      const call: Call = { body, args: made.args, results: out };
      for (const n of call.results) calls.set(n, call);
    }
  }
  return calls;
}

/**
 * A body for these values, what it is given, and a text that is equal for equal bodies. What is cheap to compute from what is handed in, and no
 * part of anything, is computed in it as well.
 */
function outlined(
  roots: readonly Node[],
  own: (n: Node) => boolean,
  member: (n: Node) => boolean,
): { body: Body; args: Node[]; text: string } {
  const known = new Map<Node, Node>();
  const number = new Map<Node, number>();
  const args: Node[] = [];
  const params: Node[] = [];
  const lines: string[] = [];
  const inside = (n: Node): boolean => own(n) || isTable(n) || (!member(n) && !isLeaf(n) && transparent(n) && !isFence(n));
  for (const root of roots) {
    const stack = [root];
    while (stack.length) {
      const n = stack[stack.length - 1];
      const open = known.has(n) || !inside(n) ? [] : n.inputs.filter((x) => !known.has(x));
      if (open.length > 0) {
        stack.push(open[0]);
        continue;
      }
      stack.pop();
      if (known.has(n)) continue;
      number.set(n, number.size);
      if (inside(n)) {
        const { half: _, recompute: __, ...from } = n.origin;
        const inputs = n.inputs.map((x) => known.get(x)!);
        known.set(n, node(n.op, inputs, n.attrs, n.type, from, n.loop));
        lines.push(`${n.op} ${attrsKey(n.attrs)} ${n.type.dtype} ${n.type.shape} ${n.inputs.map((x) => number.get(x))}`);
      } else {
        const param = makeArg(params.length, n.type, { path: n.origin.path });
        params.push(param);
        args.push(n);
        known.set(n, param);
        lines.push(`arg ${n.type.dtype} ${n.type.shape}`);
      }
    }
  }
  const text = [...lines, roots.map((n) => number.get(n)).join()].join("\n");
  return { body: { params, results: roots.map((n) => known.get(n)!) }, args, text };
}
