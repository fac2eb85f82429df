/** From flat graphs with loops over slices to steps: a graph, and the bodies of its loops, each once. */
import type { Body, Graph, Result } from "../ir/graph.ts";
import { type FuseLimits, fuse } from "./kernels/fuse.ts";
import { SharedKernels } from "./kernels/shared.ts";
import { lowered } from "./lowering.ts";
import { type Scheduled, schedule } from "./schedule.ts";

export interface Lowered {
  readonly results: readonly Result[];
  readonly scheduled: Scheduled;
  /** The bodies of the loops among the steps. */
  readonly bodies: ReadonlyMap<Body, Lowered>;
}

/** Prepares, fuses and orders a graph, and the bodies of the loops that it has. `shared` has kernels that were built before. `of`: the entry's name. */
export function lower(graph: Graph, limits: FuseLimits, shared = new SharedKernels(), of = "", body = false): Lowered {
  const { results } = lowered(graph, body, shared.hooks, of);
  const scheduled = schedule(fuse({ results }, limits, shared), results);
  const bodies = new Map<Body, Lowered>();
  for (const { loop } of scheduled.steps)
    for (const body of loop?.loop?.bodies ?? [])
      if (!bodies.has(body)) bodies.set(body, lower(asGraph(body, loop!.loop!.carried), limits, shared, `a loop of ${of}`, true));
  return { results, scheduled, bodies };
}

/** A body as a graph of its own: a carried value is the next value of its parameter (`schedule` knows parameters of bodies by their number), an export is an output. */
const asGraph = ({ results }: Body, carried: number): Graph => ({
  results: results.map((node, i): Result => ({ role: i < carried ? "param" : "output", name: String(i), node })),
});
