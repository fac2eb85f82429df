/**
 * A compiled program as data: what a backend prints and the runtime runs, without the compiler. It is JSON but for the WebAssembly module.
 */
import type { HalfFormat, Weights } from "./weights.ts";

export type StorageType = "f32" | "i32" | "bool";

/** Where a tensor lies: bytes `offset .. offset + bytes` of a page of an arena; row-major, packed. Booleans take 4 bytes (0 or 1). */
export interface Placed {
  /** Of what it holds: a parameter, a state, an input or an output; of an activation the path and the op that makes it. Ranges of other tensors have none. */
  readonly name?: string | undefined;
  readonly arena: ArenaName;
  readonly page: number;
  readonly offset: number;
  readonly bytes: number;
  readonly dtype: StorageType;
  readonly shape: readonly number[];
}

/**
 * frozen: weights that no update changes · trained: trained parameters and optimiser state (`state`) · states: caches ·
 * activations: offsets by lifetime · io: inputs and outputs · constants: tables · measures: what is
 * counted of tensors, and what was made of it · scratch: workers' packing space · streamed: frozen weights on their way from a file ·
 * file: where such weights would lie; nothing is allocated for it
 */
export type ArenaName = "streamed" | "file" | "frozen" | "trained" | "states" | "activations" | "io" | "constants" | "measures" | "scratch";

export interface Arena {
  readonly name: ArenaName;
  /** Scratch: for so many threads. */
  readonly workers?: number;
  /** Bytes of each page (of scratch in a WebAssembly memory, a second one: what its last page has over); no page exceeds the device's largest binding. */
  readonly pages: readonly number[];
}

/** One run of one kernel. */
export interface Dispatch {
  readonly kernel: string;
  /** Bound in order: the kernel's operands, each the index of a tensor in `Program.tensors`. */
  readonly operands: readonly number[];
  /** WebGPU: workgroups in x, y, z. */
  readonly grid?: readonly [number, number, number] | undefined;
  /** WebAssembly: independent units of work, cut among the workers. */
  readonly units?: number | undefined;
  /** Another kernel for the same operands, with the same results: it skips zeros of the tensor of that number in `Program.measures`. */
  readonly skips?:
    | {
        readonly measure: number;
        readonly kernel: string;
        readonly grid?: readonly [number, number, number] | undefined;
        readonly units?: number | undefined;
      }
    | undefined;
  /** Module path and op, for messages and traces. */
  readonly label: string;
  /** Which part of a step it belongs to; left out: forward. */
  readonly part?: Part | undefined;
}

/** forward: what a model computes · backward: gradients · recompute: computed a second time for them · update: from gradients to next values. */
export const PARTS = ["forward", "recompute", "backward", "update"] as const;
export type Part = (typeof PARTS)[number];

/** A step computed on the host between dispatches (`svd`, `qr`, ...): only in `load` entries. */
export interface HostStep {
  readonly host: string;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly operands: readonly number[];
  readonly results: readonly number[];
  readonly label: string;
}

/** A scalar input that the runtime computes on the host in f64 from named scalars as `step` and `steps` (schedules, bias corrections). */
export interface HostScalar {
  readonly name: string;
  /**
   * Each entry is [op, ...arguments]; an argument is a number, `"%3"` (an earlier entry) or `"@step"` (a named scalar). The last entry is
   * the value. Arithmetic of integers is called `mul.i32`: it wraps.
   */
  readonly code: readonly (readonly (string | number)[])[];
  readonly dtype: StorageType;
}

export interface Entry {
  readonly name: string;
  readonly steps: readonly (Dispatch | HostStep)[];
  /** Names of inputs that must be written before a run, and outputs that can be read after it. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly scalars: readonly HostScalar[];
}

/** An entry that computes once from weights what the others read. Sessions run it by themselves before any other, and again where weights change. */
export interface Load {
  readonly entry: string;
  /** Parameters that it alone reads: they are handed to it as inputs when they are written, and not kept. */
  readonly handed: readonly string[];
  /** Whether it reads parameters that are kept as well. */
  readonly reads: boolean;
  /**
   * It takes `count` numbers of its one parameter at a time. `made`: its outputs that are parts of tensors, one behind the other; `rest`: the entry that
   * then computes from the other outputs, whole.
   */
  readonly pieces?:
    | {
        readonly count: number;
        readonly made: Readonly<Record<string, number>>;
        readonly rest?: string;
      }
    | undefined;
}

/** A frozen weight that stays in its file is brought into a tensor's place: from when step `begin` of the entry may start on, and before step `before` does. */
export interface Bring {
  readonly param: string;
  readonly tensor: number;
  readonly begin: number;
  readonly before: number;
}

/** A tensor of which a run counts the elements that are not 0. */
export interface Measure {
  /** Tensors: i32 numbers that add up to the count, and one that is 1 while products skip zeros of it. */
  readonly counts: number;
  readonly flag: number;
  /** How many elements there are. */
  readonly elements: number;
  /** The entry that counts, and the path of the module that makes the tensor. */
  readonly entry: string;
  readonly label: string;
}

export interface Kernel {
  readonly name: string;
  /** WGSL text, or the name of the function exported by the module. */
  readonly code: string;
  readonly operands: readonly { readonly access: "read" | "read_write"; readonly dtype: StorageType }[];
}

export interface Program {
  readonly format: "peftc-program";
  readonly version: 1;
  /** `reference`: nothing was lowered; the interpreter runs the graphs that it was made of. `torch`: PyTorch runs what was printed of them. */
  readonly target: "wasm" | "native" | "webgpu" | "reference" | "torch";
  /** "relaxed" | "plain" for wasm: whether multiply-adds may be fused. */
  readonly arithmetic: string;
  readonly arenas: readonly Arena[];
  readonly tensors: readonly Placed[];
  readonly kernels: readonly Kernel[];
  readonly entries: readonly Entry[];
  readonly loads?: readonly Load[];
  /** Parameters that lie as words of 16 bits, two to an i32, the first in the lower half; they are written as f32 all the same. */
  readonly halves?: Readonly<Record<string, HalfFormat>>;
  readonly measures?: readonly Measure[];
  /** By entry: weights that are not kept, but brought in again in each run. Their tensors in `params` have no place. */
  readonly brings?: Readonly<Record<string, readonly Bring[]>>;
  /** Names to tensors. Inputs and outputs are qualified as `entry/name`. */
  readonly params: Readonly<Record<string, number>>;
  readonly states: Readonly<Record<string, number>>;
  readonly inputs: Readonly<Record<string, number>>;
  readonly outputs: Readonly<Record<string, number>>;
  /** Tables written once when the program is opened: tensor index to values. */
  readonly constants: readonly { readonly tensor: number; readonly data: readonly number[] }[];
  /** WebAssembly: the module's text form (readable) ; its bytes lie beside the JSON. */
  readonly wat?: string;
}

export type Values = Float32Array | Int32Array;

/** A program on a device, with its memory. All names are those of the program. */
export interface Session {
  /** What runs it, in words: `wasm, 2 threads, relaxed`. */
  readonly device: string;
  /** Bytes allocated for the arenas, and what the platform adds (page rounding, staging). */
  readonly memory: { readonly planned: number; readonly platform: number };
  write(kind: "param" | "state", name: string, data: Values | Weights): Promise<void>;
  read(kind: "param" | "state", name: string): Promise<Values>;
  /** Runs an entry. `inputs` by name (scalars as numbers); resolves with the outputs asked for. Throws `DeviceLost`, `OutOfMemory`. */
  run(entry: string, inputs: Readonly<Record<string, Values | number>>, outputs?: readonly string[]): Promise<Record<string, Values>>;
  /** What was counted last of tensors that products may skip zeros of; empty where the program has none, or nothing has run. */
  densities?(): readonly Density[];
  close(): Promise<void>;
}

/** The share of a tensor's elements that are not 0, counted by the last run of its entry, and whether products now skip its zeros. */
export interface Density {
  readonly entry: string;
  readonly label: string;
  readonly density: number;
  readonly skipping: boolean;
}
