/** What a reversible stack carried into its layers, rebuilt from what came out of the last: the compiler's inverse of the loop. */
import type { Entry } from "../../../src/compiler/project.ts";
import { bind } from "../../../src/ir/bind.ts";
import { Builder } from "../../../src/ir/build.ts";
import type { Graph, Node, Result } from "../../../src/ir/graph.ts";
import { invertLoop, isBlocked } from "../../../src/ir/loops.ts";
import { compileGraph, pipeline } from "../../../src/ir/pipeline.ts";
import { isGet, readOf } from "../../../src/ir/rebuild.ts";

/** Passes up to the one that makes loops. */
const ROLLING = pipeline.slice(0, pipeline.findIndex(({ name }) => name === "roll") + 1);

/**
 * The entry whose outputs `reconstructed.I` are both streams in front of layer I, side by side. `streams`: names of outputs of `entry` that are the two
 * streams side by side, in front of each layer and behind the last.
 */
export function rebuiltStreams(entry: Entry, streams: readonly string[], sizes: ReadonlyMap<string, number>): Entry {
  const graph = bind(entry.graph, sizes);
  const last = graph.results.find(({ name }) => name === streams[streams.length - 1])!.node;
  const output = (name: string, node: Node): Result => ({ role: "output", name, node });
  const ends: Graph = { results: last.inputs.map((node, i) => output(`${i}`, node)) };
  const rolled = compileGraph(ends, { passes: ROLLING }).graph.results.map(({ node }) => node);
  if (!rolled.every(isGet)) throw new Error("the streams are not carried by one loop");
  const reads = rolled.map(readOf);
  const { loop } = reads[0];
  if (!reads.every((r) => r.loop === loop && r.result < loop.loop!.carried)) throw new Error("the streams are not carried by one loop");
  const inverse = invertLoop(loop);
  if (isBlocked(inverse))
    throw new Error(`the stack cannot be run backwards: ${inverse.why} (${inverse.at.op} in ${inverse.at.origin.path})`);
  const b = new Builder({ path: "rebuilt" });
  const results = streams.slice(0, -1).map((_, t) => {
    const both = reads.map(({ result }) => inverse.carriedInto(t, result));
    return output(`reconstructed.${t}`, b.concat(both, -1));
  });
  return { graph: { results }, columns: entry.columns, states: [] };
}
