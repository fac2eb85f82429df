/**
 * What a pass is, and the driver that runs a list of them. A pass takes a graph and gives a graph; it never changes a node. What no
 * result reaches is gone by itself. The driver, not the pass, verifies what came out and blames by name.
 */

import type { HostScalar } from "../../ground/program.ts";
import type { HalfFormat } from "../../ground/weights.ts";
import { Bug } from "../errors.ts";
import type { Graph, Span } from "../graph.ts";

/** What the caller fixes before compiling. */
export interface PassOptions {
  /** Micro-batches of one update: the batch is split into so many pieces. */
  readonly accumulate?: number;
  /** Loops whose carried values can be found again run backwards: to the bit, over integers. */
  readonly reverse?: "exact" | number | undefined;
  /** Most iterations between kept values of loops that run backwards in f32; as many as the bound on their errors allows, if left out. */
  readonly segment?: number | undefined;
  /** Says where in the sources a node comes from, for notes. */
  readonly place?: ((span: Span) => string | undefined) | undefined;
  /** Bytes of a slice of what is computed in slices; `Infinity`: nothing is. A few MB, if left out. */
  readonly slice?: number | undefined;
  /** How much is recomputed: a step of the scale that `cut` has for the graph; if left out, what costs next to nothing. */
  readonly recompute?: number | undefined;
  /** Names of parameters that change from run to run, beside those that the graph itself updates; all others are fixed at loading. */
  readonly trained?: readonly string[] | undefined;
  /** Frozen weights are read in this format. */
  readonly halves?: HalfFormat | undefined;
  /** The graph is what a loop does in one of its iterations. */
  readonly body?: boolean;
  /** Names of scalar inputs that the host knows before a step runs; `step` and `steps`, if left out. */
  readonly hostInputs?: readonly string[];
}

/** Of a graph with a backward half. */
export interface Recomputed {
  /** The step of the scale that was taken; steps are 0..steps-1, each repeating more work than those before and keeping less. */
  readonly step: number;
  readonly steps: number;
  /** The step without a budget. */
  readonly usual: number;
  /** Steps at which a kind of recomputing is complete: the least peak is at one of them. */
  readonly corners: readonly number[];
  /** The last step at which every level's separator is kept. */
  readonly borders: number;
  /** Bytes that a step keeps for the backward half, as the cut counts them. */
  kept(step: number): number;
  /** Work repeated, as a share of the step's, by the cost model. */
  readonly added: number;
  /** Seconds of the step without what is repeated, by the cost model. */
  readonly seconds: number;
}

/** Of a loop that runs backwards in f32. */
export interface Rounded {
  /** Iterations between kept values. */
  readonly segment: number;
  /** By which factor an error grows an iteration, at most, if the Jacobians of what iterations add have norm 1. */
  readonly growth: number;
  /** The norm for which that is the factor. */
  readonly sensitivityFor: (growth: number) => number;
}

/** Facts that passes leave for `plan` and for the runtime. A pass adds to it, no pass reads another's notes. */
export class PassContext {
  /** Lines for people, by the pass that wrote them. */
  notes: readonly { readonly pass: string; readonly text: string }[] = [];
  /** Scalar inputs that the host computes each step. */
  readonly scalars: HostScalar[] = [];
  /** Loops that run backwards in f32. */
  readonly rounded: Rounded[] = [];
  /** How `chunk` cut values in slices, in its order: graphs that are the same before it, and cut alike, are the same behind it. */
  readonly slices: string[] = [];
  /** What `cut` did, and what it could have done. */
  recompute?: Recomputed;
  /** Name of the pass that runs. */
  pass = "";
  constructor(
    /** Number for each symbol. */
    readonly sizes: ReadonlyMap<string, number> = new Map(),
    readonly options: PassOptions = {},
  ) {}
  note(text: string): void {
    this.notes = [...this.notes, { pass: this.pass, text }];
  }
}

/** What the generated table says of a pass. */
export interface PassRow {
  readonly name: string;
  /** What it expects, and what it gives: one line each, for the generated table. */
  readonly before: string;
  readonly after: string;
  /** What stays equal. */
  readonly law: string;
  /** Graphs can be lowered without it: it makes them smaller or faster, and nothing else. */
  readonly optional?: true;
  /** Graphs that are printed for PyTorch alone go through it, and through none of those of kernels. */
  readonly target?: "torch";
}

export interface Pass extends PassRow {
  /** What it makes may be there already: the driver makes equal nodes one behind it. */
  readonly doubles?: true;
  run(graph: Graph, context: PassContext): Graph;
}

/** How the driver checks, cleans and shows graphs; handed in, so that a test can watch it. */
export interface Inspection {
  /** Makes equal nodes one, behind passes that leave such. */
  cleanUp?(graph: Graph): Graph;
  /** Throws `Bug` if the graph is ill-formed. */
  verify(graph: Graph): void;
  print(graph: Graph): string;
}

export interface DriverHooks {
  /** Called after the pass named `print` (every pass, if `"*"`) with the text of the graph, and whose it is where several are under way. */
  readonly print?: string | undefined;
  readonly onPrint?: ((pass: string, text: string, of?: string) => void) | undefined;
  /** Ends after this pass. */
  readonly stopAfter?: string | undefined;
  /** Optional passes that are left out, to see what they are worth. */
  readonly without?: readonly string[];
}

/** How many characters of a graph a message shows. */
const EXCERPT = 4000;

/**
 * Runs the passes in order. Throws `Bug` with the name of the pass and an excerpt of the graph that it was given, or made, if a pass
 * throws something that is not for people (`Limit`, `InputError` go through), or leaves an ill-formed graph.
 */
export function runPasses(
  passes: readonly Pass[],
  graph: Graph,
  context: PassContext,
  inspect: Inspection,
  hooks: Omit<DriverHooks, "stopAfter"> = {},
): Graph {
  let current = graph;
  for (const pass of passes) {
    context.pass = pass.name;
    const next = blame(pass, "failed on", current, inspect, () => {
      const made = pass.run(current, context);
      return pass.doubles && inspect.cleanUp ? inspect.cleanUp(made) : made;
    });
    // what is as it was is as sound as it was
    if (!sameResults(next, current)) {
      blame(pass, "left an ill-formed graph", next, inspect, () => inspect.verify(next));
      current = next;
    }
    if (hooks.print === pass.name || hooks.print === "*") hooks.onPrint?.(pass.name, inspect.print(current));
  }
  return current;
}

const sameResults = ({ results: a }: Graph, { results: b }: Graph): boolean =>
  a.length === b.length &&
  a.every((r, i) => r.node === b[i].node && r.role === b[i].role && r.name === b[i].name && r.forward === b[i].forward);

/** Of hooks that name passes of a longer list, those that name passes of this part of it. */
export function hooksFor(passes: readonly PassRow[], { print, onPrint, stopAfter, without }: DriverHooks): DriverHooks {
  const mine = (name: string | undefined): boolean => passes.some((p) => p.name === name);
  return {
    ...(print !== undefined && (print === "*" || mine(print)) && { print, onPrint }),
    ...(mine(stopAfter) && { stopAfter }),
    ...(without !== undefined && { without: without.filter(mine) }),
  };
}

/** Throws `Bug` if a hook names no pass of the list. */
export function requirePass(passes: readonly PassRow[], hooks: DriverHooks): void {
  const known = new Set(passes.map((p) => p.name));
  for (const name of [hooks.print, hooks.stopAfter])
    if (name !== undefined && name !== "*" && !known.has(name))
      throw new Bug(`there is no pass ${name}; the passes are ${[...known].join(", ")}`);
  for (const name of hooks.without ?? [])
    if (!passes.some((p) => p.name === name && p.optional))
      throw new Bug(
        `no pass ${name} can be left out; these can: ${[...new Set(passes.flatMap((p) => (p.optional ? [p.name] : [])))].join(", ")}`,
      );
}

function blame<T>(pass: Pass, what: string, graph: Graph, inspect: Inspection, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof Error && (error.name === "Limit" || error.name === "InputError")) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new Bug(`pass ${pass.name} ${what}: ${why}\n${excerpt(graph, inspect, why)}`, { cause: error });
  }
}

/** The printed graph, or the part of it around the first node number that the message mentions. */
function excerpt(graph: Graph, inspect: Inspection, why: string): string {
  let text: string;
  try {
    text = inspect.print(graph);
  } catch (error) {
    return `(the graph cannot be printed: ${error instanceof Error ? error.message : String(error)})`;
  }
  if (text.length <= EXCERPT) return text;
  const mentioned = /%\d+/.exec(why)?.[0];
  const at = mentioned ? Math.max(0, text.indexOf(`${mentioned} `)) : 0;
  const from = Math.max(0, Math.min(at - EXCERPT / 2, text.length - EXCERPT));
  return `${from > 0 ? "...\n" : ""}${text.slice(from, from + EXCERPT)}\n... (${text.length} characters in all)`;
}
