/** What training asks of a backend: graphs in, a running session out. Implementations: `src/backends`, opened by `src/node` or a page. */
import type { NativeFile } from "../../backends/native/files.ts";
import type { Sites } from "../../backends/sites.ts";
import type { Program, Session } from "../../ground/program.ts";
import type { Graph, Span } from "../../ir/graph.ts";
import type { Rounded } from "../../ir/passes/pass.ts";
import type { FrontPoint } from "./fit.ts";

/** One entry point to be: a graph with symbolic sizes and the number for each symbol. */
export interface EntryPoint {
  readonly name: string;
  readonly graph: Graph;
  readonly sizes: ReadonlyMap<string, number>;
  /** The symbol of the rows of a batch, where there is one. */
  readonly batch?: string | undefined;
  /** Symbols whose value is an input of that name when it runs, while `sizes` has its extent. */
  readonly growing?: readonly string[];
}

export interface BuildOptions {
  /** Names of parameters that some entry changes; all others are frozen. */
  readonly trained: readonly string[];
  /** Most bytes at the peak; `undefined`: what the device allows. */
  readonly memory?: number | undefined;
  /** How loops that can be run backwards are; see `PassOptions`. */
  readonly reverse?: "exact" | number;
  /** Most iterations between values that are kept of loops that run backwards in f32. */
  readonly segment?: number | undefined;
  /** Says where in the sources a node comes from, for notes. */
  readonly place?: ((span: Span) => string | undefined) | undefined;
  /** Parameters that lie in files and may be left there, and whether they are: in any case, never, or where nothing else meets the budget. */
  readonly stored?: ReadonlySet<string> | undefined;
  readonly offload?: boolean | undefined;
  /** The budget is probably not met: what cannot help it is compiled last. */
  readonly doubtful?: boolean;
  /** Only the plan is wanted: the program need not fit the device, and cannot be opened. */
  readonly planOnly?: boolean;
}

export interface Built {
  readonly program: Program;
  /** The WebAssembly module, where the program has one. */
  readonly module?: Uint8Array;
  /** The native kernels as C, where the program has such. */
  readonly files?: readonly NativeFile[];
  /**
   * Only where the budget cannot be met: the smallest that could. Then there is no module, and `program` is the plan without a budget, of those entries at
   * least that need most.
   */
  readonly smallest?: () => Promise<number>;
  /** What the passes have to say to people. */
  readonly notes: readonly string[];
  /** Loops that run backwards in f32. */
  readonly rounded: readonly Rounded[];
  /** Work that each entry with a backward half repeats, as a share of the whole, by the cost model. */
  readonly recomputed: Readonly<Record<string, number>>;
  /** Of an engine that compiles: what became of low rank beside frozen products, by entry. */
  readonly sites?: Readonly<Record<string, Sites>>;
  /** Seconds of one run of each entry with a backward half, with what is repeated, by the cost model. */
  readonly seconds: Readonly<Record<string, number>>;
  /** Arithmetic of one run of each entry, in operations. */
  readonly flops: Readonly<Record<string, number>>;
}

export interface Engine {
  /** `wasm` ... in words, and why it was chosen. */
  readonly device: string;
  readonly reason: string;
  /** Bytes a program may have at most where the spec says nothing. */
  readonly memory: number;
  /** Entries that may be under way at once. */
  readonly depth: number;
  /** How the processor rounds what programs leave to it, in a word: another one gives other bits. */
  readonly rounding?: string | undefined;
  build(entries: readonly EntryPoint[], options: BuildOptions): Promise<Built>;
  /** Peaks by how much is recomputed; only of engines that compile. */
  front?(entries: readonly EntryPoint[], options: BuildOptions): Promise<readonly FrontPoint[]>;
  /**
   * Whether a step is sums over parts of its batch, whatever the stage says. `always`: several processes have a part each. `if additive`: where the objective's
   * parts add up, since gradients are then added up by what runs it and each parameter's next value is written in its place.
   */
  readonly splits?: "always" | "if additive";
  /** Whether frozen weights may be read from their files while a step runs. */
  readonly offloads?: boolean;
  /** Memory is allocated and constants are written; parameters and states are not. */
  open(built: Built): Promise<Session>;
  /** Ends what the engine runs beside this process, if anything. */
  close?(): Promise<void>;
}
