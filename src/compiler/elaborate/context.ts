import { type Dim, sameDim, solve, substitute, symbol, symbolsOf } from "../../ir/dim.ts";
import type { Node, Span } from "../../ir/graph.ts";
import type { ColumnDecl } from "../project.ts";
import type { Site } from "./attachment.ts";
import { fail } from "./fault.ts";
import type { Frame } from "./frame.ts";
import type { Instance } from "./instance.ts";
import type { MethodFrame, Subject } from "./method-frame.ts";
import type { Storage } from "./storage.ts";
import type { Value } from "./values.ts";
import type { Edit } from "./versions.ts";

/**
 * bare: the model without attachments, traced for its sizes · start: first values · train, evaluate: a stage's step · prefill, decode: the
 * two graphs of generation (`past` is 0, or the symbol `past`).
 */
type Mode = "bare" | "start" | "train" | "evaluate" | "prefill" | "decode";

/** A state of generation. `axis`: where positions are added; none: it is the prompt's, and stays. */
export interface Remembered {
  readonly node: Node;
  /** What the state becomes; none: this graph only reads it. */
  readonly next: Node | undefined;
  readonly axis: number | undefined;
}

/** One graph in the making: its calls, its reads of parameters, its columns. */
export class Context {
  readonly frames = new Map<Instance, Frame[]>();
  readonly methodFrames = new Map<Site, Map<Subject, MethodFrame>>();
  /** Values of a storage's names, by the version read. */
  readonly reads = new Map<Storage, Map<string, Map<Edit | undefined, Value>>>();
  readonly columns = new Map<string, { decl: ColumnDecl; node: Node }>();
  /** Which parameters and states the graph reads. */
  readonly params = new Map<string, Storage>();
  /** What `remember` keeps, by the name of its state. */
  readonly remembered = new Map<string, Remembered>();
  /** Decoding one token: what the graph of the text given keeps, and the row of each row's earlier positions where rows change places. */
  kept: ReadonlyMap<string, Remembered> | undefined;
  parents: Node | undefined;
  /** Values at other points (`moved`), with what was asked: e, tensors, steps. */
  readonly moves: { readonly nodes: readonly Node[]; readonly value: Node }[] = [];
  /** Calls that objectives share, by module and arguments. */
  readonly shared = new Map<string, Frame>();

  /** What the update gives the names of a parameter before anyone rebinds them; set by the stage. */
  firstVersion: ((storage: Storage, name: string, span: Span | undefined) => Value) | undefined;
  /** The finished loss, for `x.grad`. */
  finishedLoss: (() => Node) | undefined;
  /** The stage's `params`, as an objective may ask for it. */
  trained: readonly Storage[] | undefined;

  constructor(
    readonly mode: Mode,
    /** Seeds the draws, with the stage's name. */
    readonly seed: number,
    private readonly stageName: string,
    /** Which attachments count: those in the stage for what they say of the update, none in a bare trace. */
    readonly holds: (edit: Edit, name: string) => boolean,
  ) {}

  /** Whether anything depends on the stage's name. */
  named = false;
  get stage(): string {
    this.named = true;
    return this.stageName;
  }

  /** Sizes of columns, and what the program's shapes have made them equal to: the data then must have them so. */
  private readonly open = new Set<string>();
  private readonly equalities = new Map<string, Dim>();
  openSizes(shape: readonly Dim[]): void {
    for (const d of shape) for (const s of symbolsOf(d)) this.open.add(s);
  }
  /** Whether two sizes are equal, or can be by settling the size of a column (`C = 3`). */
  equal(a: Dim, b: Dim): boolean {
    const [p, q] = [substitute(a, this.equalities), substitute(b, this.equalities)];
    if (sameDim(p, q)) return true;
    if (typeof p !== "number" && typeof q !== "number") return false;
    const found = solve(p, q, (s) => this.open.has(s));
    if (!found || typeof found.value !== "number" || found.value < 1) return false;
    this.equalities.set(found.symbol, found.value);
    return true;
  }

  get past(): Dim {
    return this.mode === "decode" ? symbol("past") : 0;
  }
}

let now: Context | undefined;

/** The graph being made. Code of the language runs inside exactly one. */
export function context(): Context {
  if (!now)
    fail("P0505", undefined, "this has a value only while a stage runs", { notes: ["it may be used in an objective or inside a method"] });
  return now;
}
export const maybeContext = (): Context | undefined => now;

export function within<T>(ctx: Context, work: () => T): T {
  const outer = now;
  now = ctx;
  try {
    return work();
  } finally {
    now = outer;
  }
}
