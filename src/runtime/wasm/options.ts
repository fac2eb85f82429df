/** What a session on WebAssembly is opened with, and how many threads that comes to. */

import type { Program } from "../../ground/program.ts";
import { InputError } from "../../ir/errors.ts";
import { NoDevice } from "../errors.ts";
import type { StartThread } from "../threads.ts";
import { hasSharedMemory } from "./probe.ts";
import type { Span } from "./spans.ts";
import type { NativeCode } from "./worker.ts";

export interface WasmOptions {
  /** Threads to compute with; 1 computes on the caller's. More than the program was compiled for are as many as that. */
  readonly workers: number;
  /** Starts threads; needed for more than one worker. */
  readonly startThread?: StartThread;
  /** Compiles the module; by default as the engine likes. */
  readonly compile?: (module: BufferSource) => Promise<WebAssembly.Module>;
  /** Called once, when all is loaded, before the first entry runs that somebody asked for. */
  readonly settle?: () => Promise<void>;
  /** Kernels that are compiled already, or are being, in place of a module: threads run them, also where there is only one. */
  readonly native?: Promise<NativeCode>;
  /** Milliseconds that threads may take to start, and any of them to do something: five minutes unless told. */
  readonly patience?: number;
  /** Is told, behind each run of an entry, when each thread computed which of its kernels. */
  readonly timed?: ((entry: string, spans: readonly Span[]) => void) | undefined;
}

/** P0902: no number of threads. `NoDevice`: several where memory cannot be shared. */
export function workersOf({ workers, startThread, native }: WasmOptions, program: Program): number {
  if (!Number.isInteger(workers) || workers < 1)
    throw new InputError("P0902", `the number of workers is a whole number from 1 on, this is ${String(workers)}`);
  const most = program.arenas.find(({ name }) => name === "scratch")?.workers;
  const used = Math.min(workers, most ?? workers);
  if (used === 1 && native === undefined) return 1;
  if (!hasSharedMemory())
    throw new NoDevice(`${used} workers need shared memory, and this page has none, since it is not cross-origin isolated`, [
      "serve it with `Cross-Origin-Opener-Policy: same-origin` and `Cross-Origin-Embedder-Policy: require-corp`, over https or from localhost",
      "or give `workers: 1`",
    ]);
  if (startThread === undefined)
    throw new InputError("P0902", `${used} workers need \`startThread\``, [
      "`startWorker` of peftc/runtime starts a page's",
      "or give `workers: 1`",
    ]);
  return used;
}
