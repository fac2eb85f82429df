/** From the graph of a program to the graph that backends lower: flat, without placeholders, with numbers for sizes. */
import { type BindOptions, bind } from "./bind.ts";
import type { Graph } from "./graph.ts";
import { canonical } from "./passes/canonical.ts";
import { chunk } from "./passes/chunk.ts";
import { cse } from "./passes/cse.ts";
import { cut } from "./passes/cut.ts";
import { expand } from "./passes/expand.ts";
import { grad } from "./passes/grad.ts";
import { type DriverHooks, type Pass, PassContext, type PassOptions, runPasses } from "./passes/pass.ts";
import { products } from "./passes/products.ts";
import { restore } from "./passes/restore.ts";
import { reverse } from "./passes/reverse.ts";
import { roll } from "./passes/roll.ts";
import { type HostScalar, scalars } from "./passes/scalars.ts";
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
}

export interface Compiled {
  readonly graph: Graph;
  /** Scalar inputs of the graph that the host computes from named ones. */
  readonly scalars: readonly HostScalar[];
  /** What the passes have to say to `plan`. */
  readonly notes: readonly { readonly pass: string; readonly text: string }[];
}

/** Runs the pipeline. Throws `Bug` with the name of the pass that failed, `Limit` and `TypeMismatch` as they come. */
export function compileGraph(graph: Graph, options: CompileOptions = {}): Compiled {
  const sizes = options.sizes ?? new Map<string, number>();
  const context = new PassContext(sizes, options.options);
  const bound = bind(graph, sizes, { values: options.values });
  const out = runPasses(options.passes ?? pipeline, bound, context, { verify, print: (g) => print(g, { brief: true }) }, options);
  return { graph: out, scalars: context.scalars, notes: context.notes };
}
