/** The passes of lowering, and all passes in one list: what `--print` shows, and what can be left out. */
import type { Graph } from "../ir/graph.ts";
import { type DriverHooks, hooksFor, type Inspection, type Pass, PassContext, type PassRow, runPasses } from "../ir/passes/pass.ts";
import { early, pipeline } from "../ir/pipeline.ts";
import { print } from "../ir/print.ts";
import { verify } from "../ir/verify.ts";
import { singleLeaves } from "./leaves.ts";
import { hoisting } from "./load.ts";
import { calls } from "./passes/calls.ts";
import { split } from "./passes/split.ts";
import { storable } from "./passes/storable.ts";
import { thin } from "./passes/thin.ts";
import { torchRewrites } from "./torch/rewrites.ts";

/** Over each graph of a program, those of loading as well, and over the bodies of its loops. */
const lowering: readonly Pass[] = [calls, thin, split, storable];

/** All of them, in their order: to kernels, and to PyTorch. */
export const passes: readonly PassRow[] = [...early, ...pipeline, hoisting, ...lowering, ...torchRewrites];
/** Those on the way to a target. */
export const passesTo = (target: "kernels" | "torch"): readonly PassRow[] =>
  target === "torch" ? [...early, ...torchRewrites] : passes.filter((p) => p.target === undefined);

const show = (graph: Graph): string => print(graph, { brief: true });
const WHOLE: Inspection = { verify, cleanUp: singleLeaves, print: show };
/** A body's parameters belong to a loop that is not there. */
const BODY: Inspection = { ...WHOLE, verify: () => {} };

/** What kernels are made of. `of`: whose graph it is, for who looks at it. */
export function lowered(graph: Graph, body: boolean, hooks: DriverHooks, of = ""): Graph {
  const { without = [], print, onPrint, stopAfter } = hooksFor(lowering, hooks);
  const run = lowering.filter((p) => !without.includes(p.name));
  const stop = run.findIndex((p) => p.name === stopAfter);
  // kernels are made of what all of them give: who stops earlier sees no more
  const shown = (pass: string): boolean => stop < 0 || run.findIndex((p) => p.name === pass) <= stop;
  const told = { print, onPrint: (pass: string, text: string) => (shown(pass) ? onPrint?.(pass, text, of) : undefined) };
  return runPasses(run, singleLeaves(graph), new PassContext(new Map(), { body }), body ? BODY : WHOLE, told);
}

/** Tells of graphs that passes over several of them, or over graphs without sizes, have made. */
export function tell(
  rows: readonly PassRow[],
  graphs: readonly { readonly name: string; readonly graph: Graph }[],
  hooks: DriverHooks,
): void {
  for (const { name: pass } of rows)
    if (hooks.print === pass || hooks.print === "*") for (const { name, graph } of graphs) hooks.onPrint?.(pass, show(graph), name);
}
