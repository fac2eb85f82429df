/** From the graph of a program to the graph that backends lower: flat, without placeholders, with numbers for sizes. */
import { type BindOptions, bind } from "./bind.ts";
import { shorten } from "./depth/shorten.ts";
import type { Graph } from "./graph.ts";
import { canonical } from "./passes/canonical.ts";
import { chunk } from "./passes/chunk.ts";
import { cse } from "./passes/cse.ts";
import { cut } from "./passes/cut.ts";
import { expand } from "./passes/expand.ts";
import { grad } from "./passes/grad.ts";
import {
  type DriverHooks,
  type Pass,
  PassContext,
  type PassOptions,
  type Recomputed,
  type Rounded,
  requirePass,
  runPasses,
} from "./passes/pass.ts";
import { products } from "./passes/products.ts";
import { restore } from "./passes/restore.ts";
import { reverse } from "./passes/reverse.ts";
import { roll } from "./passes/roll.ts";
import { type HostScalar, scalars } from "./passes/scalars.ts";
import { scaled } from "./passes/scaled.ts";
import { simplify } from "./passes/simplify.ts";
import { sparse } from "./passes/sparse.ts";
import { unroll } from "./passes/unroll.ts";
import { print } from "./print.ts";
import { verify } from "./verify.ts";

/**
 * Before `grad` nothing makes equal nodes one: a gradient may be asked for by any node. From there on loops are written out, since
 * contractions share work across turns and halves. Nothing makes equal nodes one behind `cut`, which makes copies on purpose.
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
  cse,
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

/**
 * A graph on its way through the pipeline, which stops where it is decided what is recomputed: each decision is taken from there. Throws
 * `Bug` with the name of the pass that failed, or for a hook that names none; `Limit` and `TypeMismatch` as they come.
 */
export class Compilation {
  private readonly graph: Graph;
  private readonly context: PassContext;
  private readonly rest: readonly Pass[];

  constructor(
    graph: Graph,
    private readonly options: CompileOptions = {},
  ) {
    const all = options.passes ?? pipeline;
    requirePass(all, options);
    const passes = all.filter((p) => !options.without?.includes(p.name));
    const stop = passes.findIndex((p) => p.name === options.stopAfter);
    const upTo = stop < 0 ? passes : passes.slice(0, stop + 1);
    const at = upTo.indexOf(cut);
    const first = at < 0 ? upTo : upTo.slice(0, at);
    this.rest = upTo.slice(first.length);
    const sizes = options.sizes ?? new Map<string, number>();
    const bound = bind(graph, sizes, { values: options.values });
    const made = this.short(first, bound, sizes);
    this.context = made?.context ?? new PassContext(sizes, options.options);
    this.graph = made?.graph ?? this.run(first, bound, this.context);
  }

  /** The passes over a graph with fewer layers, where many are alike; `undefined`: they are not, or passes did not treat them alike. */
  private short(
    passes: readonly Pass[],
    bound: Graph,
    sizes: ReadonlyMap<string, number>,
  ): { graph: Graph; context: PassContext } | undefined {
    const { apart, print: printed, stopAfter, options } = this.options;
    // values are kept every so many layers of all there are
    if (apart || printed !== undefined || stopAfter !== undefined || typeof options?.reverse === "number") return undefined;
    const short = shorten(bound);
    if (!short) return undefined;
    const context = new PassContext(sizes, options);
    const graph = short.lengthen(this.run(passes, short.graph, context));
    if (!graph) return undefined;
    verify(graph);
    const kept = `with ${short.of - short.out} of ${short.of} layers, the others are alike`;
    context.notes = context.notes.map(({ pass, text }) => ({ pass, text: `${text} (${kept})` }));
    return { graph, context };
  }

  /** `recompute`: a step of the graph's scale (`PassOptions.recompute`). */
  finish(recompute = this.options.options?.recompute): Compiled {
    const context = new PassContext(this.context.sizes, { ...this.options.options, recompute });
    const graph = this.run(this.rest, this.graph, context);
    const notes = [...this.context.notes, ...context.notes];
    // without `cut` there is nothing to decide: all passes ran at the start
    const made = [...this.context.scalars, ...context.scalars];
    return { graph, scalars: made, notes, rounded: this.context.rounded, ...(context.recompute && { recompute: context.recompute }) };
  }

  private run(passes: readonly Pass[], graph: Graph, context: PassContext): Graph {
    const { print: name, onPrint } = this.options;
    return runPasses(passes, graph, context, { verify, print: (g) => print(g, { brief: true }) }, { print: name, onPrint });
  }
}

/** Runs the pipeline; see `Compilation`. */
export const compileGraph = (graph: Graph, options: CompileOptions = {}): Compiled => new Compilation(graph, options).finish();
