/**
 * What lowering asks of a target whose kernels are printed. Each is a value in the folder of its name, and `index.ts` lists them; the passes, the kernels, their order
 * and the plan of memory are the same for all.
 */
import type { WebGPULimits } from "../ground/limits.ts";
import type { Arena, Dispatch, Kernel, Program } from "../ground/program.ts";
import type { FuseLimits } from "./kernels/fuse.ts";
import type { LoopLanguage } from "./kernels/kernel.ts";
import type { SharedKernels } from "./kernels/shared.ts";
import type { NativeFile } from "./native/files.ts";
import type { Machine } from "./native/schedule.ts";
import type { PlannedStep } from "./plan.ts";

export type TargetOptions =
  | {
      readonly target: "wasm";
      /** Whether multiply-adds may be fused: "relaxed" needs an engine with relaxed SIMD. */
      readonly arithmetic: "relaxed" | "plain";
      /** Threads that may run it; each has scratch of its own. */
      readonly workers: number;
    }
  | {
      readonly target: "native";
      readonly machine: Machine;
      readonly workers: number;
      /** Whether texts name what a program's operands hold: they are for people then, and serve no other program. */
      readonly readable?: boolean;
    }
  | { readonly target: "webgpu"; readonly limits: WebGPULimits };

export interface Backend<O extends TargetOptions = TargetOptions> {
  /** What one kernel may hold. */
  limits(options: O): FuseLimits;
  /** Bytes: where tensors may begin, and the most of one page. */
  placing(options: O): { readonly alignment: number; readonly page: number };
  /** Bytes that memory comes in: what is planned is so many whole ones. */
  readonly memoryUnit: number;
  /** As `Program.arithmetic`. */
  arithmetic(options: O): string;
  /** Whether kernels count zeros, which products then skip. */
  readonly counts: boolean;
  /** Whether frozen weights may be read from their files while an entry runs. */
  readonly streams: boolean;
  /** For one program. `unread`: its text is not wanted, only what it takes. */
  printer(options: O, unread: boolean, shared: SharedKernels): Printer;
}

export type Planned = Extract<PlannedStep, { kernel: LoopLanguage }>;

/** Makes of planned kernels dispatches, and text. */
export interface Printer {
  /** How many numbers a kernel counts into. */
  slots(kernel: LoopLanguage): number;
  /** The dispatches of a planned kernel; may add tensors (ranges that only this dispatch knows). */
  dispatch(step: Planned, tensors: Program["tensors"][number][]): Dispatch[];
  kernels(): Kernel[];
  /** Behind the last dispatch: adds what kernels need beside tensors to the arenas, and gives the code that does not stand in `kernels`. */
  finish(arenas: Arena[]): Promise<Code>;
}

/** The WebAssembly module and its text; or kernels in files that are compiled by themselves. */
export interface Code {
  readonly wat?: string;
  readonly module?: Uint8Array;
  readonly files?: readonly NativeFile[];
}
