/** From the graph of a program to the graph that backends lower: flat, without placeholders, with numbers for sizes. */

import type { HostScalar } from "../ground/program.ts";
import { accumulation } from "./accumulate.ts";
import { type BindOptions, bind } from "./bind.ts";
import { type Shortened, shorten } from "./depth/shorten.ts";
import type { Graph } from "./graph.ts";
import { canonical } from "./passes/canonical.ts";
import { chunk } from "./passes/chunk.ts";
import { cut } from "./passes/cut.ts";
import { expand } from "./passes/expand.ts";
import { grad } from "./passes/grad.ts";
import { halve } from "./passes/halve.ts";
import {
  type DriverHooks,
  type Inspection,
  type Pass,
  PassContext,
  type PassOptions,
  type PassRow,
  type Recomputed,
  type Rounded,
  requirePass,
  runPasses,
} from "./passes/pass.ts";
import { products } from "./passes/products.ts";
import { restore } from "./passes/restore.ts";
import { reverse } from "./passes/reverse.ts";
import { roll } from "./passes/roll.ts";
import { scalars } from "./passes/scalars.ts";
import { scaled } from "./passes/scaled.ts";
import { simplify } from "./passes/simplify.ts";
import { sparse } from "./passes/sparse.ts";
import { unroll } from "./passes/unroll.ts";
import { print } from "./print.ts";
import { unify } from "./unify.ts";
import { verify } from "./verify.ts";

/** Where a stage makes its entries, before their sizes are known. */
export const early: readonly PassRow[] = [halve, accumulation];

const INSPECTION: Inspection = { verify, cleanUp: unify, print: (g) => print(g, { brief: true }) };

/**
 * Before `grad` nothing makes equal nodes one: a gradient may be asked for by any node. From there on loops are written out, since
 * contractions share work across iterations and halves. Nothing makes equal nodes one behind `cut`, which makes copies on purpose.
 */
export const pipeline: readonly Pass[] = [
  expand,
  canonical,
  roll,
  grad,
  reverse,
  unroll,
  simplify,
  canonical,
  simplify,
  products,
  simplify,
  scaled,
  chunk,
  restore,
  cut,
  sparse,
  scalars,
];

export interface CompileOptions extends DriverHooks {
  /** A number for each symbol of the graph. */
  readonly sizes?: ReadonlyMap<string, number>;
  /** Sizes whose value is known only when the graph runs; see `bind`. */
  readonly values?: BindOptions["values"];
  readonly options?: PassOptions;
  readonly passes?: readonly Pass[];
  /** Every layer goes through the passes by itself, however many are alike; so it is where a hook looks at passes. */
  readonly apart?: boolean;
}

export interface Compiled {
  readonly graph: Graph;
  /** Scalar inputs of the graph that the host computes from named ones. */
  readonly scalars: readonly HostScalar[];
  /** What the passes have to say to `plan`. */
  readonly notes: readonly { readonly pass: string; readonly text: string }[];
  /** Loops that run backwards in f32. */
  readonly rounded: readonly Rounded[];
  /** Of a graph with a backward half: what is recomputed, and what could be. */
  readonly recompute?: Recomputed;
}

/** A graph, and what passes said on the way to it. */
interface Made {
  readonly graph: Graph;
  readonly context: PassContext;
}

/** What of a compilation does not depend on the size of slices. */
class Beginning {
  private readonly bound: Graph;
  private readonly sizes: ReadonlyMap<string, number>;
  /** The passes before slices, from there to the cut, and from the cut on. */
  private readonly first: readonly Pass[];
  readonly slicing: readonly Pass[];
  readonly rest: readonly Pass[];
  private wholeMade: Made | undefined;
  private shortMade: (Made & { readonly of: Shortened }) | undefined;

  constructor(
    graph: Graph,
    private readonly options: CompileOptions,
  ) {
    const all = options.passes ?? pipeline;
    requirePass(all, options);
    const passes = all.filter((p) => !options.without?.includes(p.name));
    const stop = passes.findIndex((p) => p.name === options.stopAfter);
    const upTo = stop < 0 ? passes : passes.slice(0, stop + 1);
    const placeOf = (p: Pass): number => (upTo.includes(p) ? upTo.indexOf(p) : upTo.length);
    const end = placeOf(cut);
    const slices = Math.min(placeOf(chunk), end);
    [this.first, this.slicing, this.rest] = [upTo.slice(0, slices), upTo.slice(slices, end), upTo.slice(end)];
    this.sizes = options.sizes ?? new Map<string, number>();
    this.bound = bind(graph, this.sizes, { values: options.values });
    const { apart, print: printed, stopAfter, options: given } = options;
    // values are kept every so many layers of all there are
    if (apart || printed !== undefined || stopAfter !== undefined || typeof given?.reverse === "number") return;
    const of = shorten(this.bound);
    if (of) this.shortMade = { ...this.run(this.first, of.graph, new PassContext(this.sizes, given)), of };
  }

  /** A graph with fewer layers, where many are alike. */
  get short(): (Made & { readonly of: Shortened }) | undefined {
    return this.shortMade;
  }
  get whole(): Made {
    this.wholeMade ??= this.run(this.first, this.bound, new PassContext(this.sizes, this.options.options));
    return this.wholeMade;
  }
  /** Passes did not treat equal layers alike. */
  giveUpShort(): void {
    this.shortMade = undefined;
  }

  run(passes: readonly Pass[], graph: Graph, context: PassContext): Made {
    const { print: name, onPrint } = this.options;
    const hooks = { print: name, onPrint };
    return { graph: runPasses(passes, graph, context, INSPECTION, hooks), context };
  }
}

/**
 * A graph on its way through the pipeline, which stops where it is decided what is recomputed: each decision is taken from there. Throws
 * `Bug` with the name of the pass that failed, or for a hook that names none; `Limit` and `TypeMismatch` as they come.
 */
export class Compilation {
  private readonly graph: Graph;
  private readonly context: PassContext;

  constructor(
    graph: Graph,
    private readonly options: CompileOptions = {},
    private readonly beginning = new Beginning(graph, options),
  ) {
    const made = this.short() ?? this.sliced(beginning.whole);
    this.graph = made.graph;
    this.context = made.context;
  }

  /** The same graph in slices of other sizes. What does not depend on that is not recomputed. */
  inSlices(slice: number | undefined): Compilation {
    return new Compilation(this.graph, { ...this.options, options: { ...this.options.options, slice } }, this.beginning);
  }

  /** Whether another one in slices of another size came to the same slices: then both are the same. */
  sameSlices(other: Compilation): boolean {
    const [mine, its] = [this.context.slices, other.context.slices];
    return this.beginning === other.beginning && mine.length === its.length && mine.every((text, i) => text === its[i]);
  }

  private sliced({ graph, context: { sizes, notes, scalars, rounded } }: Made): Made {
    const context = new PassContext(sizes, this.options.options);
    context.notes = notes;
    context.scalars.push(...scalars);
    context.rounded.push(...rounded);
    return this.beginning.run(this.beginning.slicing, graph, context);
  }

  /** The passes over a graph with fewer layers, where many are alike; `undefined`: they are not, or passes did not treat them alike. */
  private short(): Made | undefined {
    const { short } = this.beginning;
    if (!short) return undefined;
    const { graph: made, context } = this.sliced(short);
    const graph = short.of.lengthen(made);
    if (!graph) {
      this.beginning.giveUpShort();
      return undefined;
    }
    verify(graph);
    const kept = `with ${short.of.of - short.of.out} of ${short.of.of} layers, the others are alike`;
    context.notes = context.notes.map(({ pass, text }) => ({ pass, text: `${text} (${kept})` }));
    return { graph, context };
  }

  /** `recompute`: a step of the graph's scale (`PassOptions.recompute`). */
  finish(recompute = this.options.options?.recompute): Compiled {
    const { graph, context } = this.beginning.run(
      this.beginning.rest,
      this.graph,
      new PassContext(this.context.sizes, { ...this.options.options, recompute }),
    );
    const notes = [...this.context.notes, ...context.notes];
    // without `cut` there is nothing to decide: all passes ran at the start
    const made = [...this.context.scalars, ...context.scalars];
    return { graph, scalars: made, notes, rounded: this.context.rounded, ...(context.recompute && { recompute: context.recompute }) };
  }
}

/** Runs the pipeline; see `Compilation`. */
export const compileGraph = (graph: Graph, options: CompileOptions = {}): Compiled => new Compilation(graph, options).finish();
