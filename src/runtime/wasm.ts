/** Running a compiled program on WebAssembly: in a page, and in Node. */

export type { WasmOptions } from "./wasm/options.ts";
export { hasRelaxed, hasSharedMemory, multiplyAdd } from "./wasm/probe.ts";

import type { Program, Session } from "../ground/program.ts";
import type { WasmOptions } from "./wasm/options.ts";
import { WasmSession } from "./wasm/session.ts";

/**
 * Allocates a program's memory and writes its constants; parameters and states are the caller's to write. `module`: the bytes that came with the
 * program. Throws `OutOfMemory`, and `InputError` where the engine lacks what the program needs.
 */
export const openWasm = (program: Program, module: Uint8Array | undefined, options: WasmOptions): Promise<Session> =>
  WasmSession.open(program, module, options);
