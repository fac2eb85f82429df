/** WebAssembly on the threads of this process. */
import { totalmem } from "node:os";
import { hasRelaxed, multiplyAdd, openWasm, type WasmOptions } from "../runtime/wasm.ts";
import type { Driver } from "../train/engine/backend.ts";
import { memoryOf } from "../train/engine/budget.ts";
import { type Device, engineOf } from "./device.ts";
import { collect, compileOptimised, enableRelaxed, parallelism, startThread, WORKERS } from "./threads.ts";

export const wasm: Device = {
  doc: "WebAssembly on the processor, several threads",
  timed: true,
  open: async ({ reason, hooks, timed }) => engineOf(wasmDriver(reason, timed), hooks),
};

function wasmDriver(reason: string, timed?: WasmOptions["timed"]): Driver {
  enableRelaxed();
  const arithmetic = hasRelaxed() ? "relaxed" : "plain";
  const workers = Math.min(WORKERS, parallelism());
  return {
    target: { target: "wasm", arithmetic, workers },
    device: `wasm, ${workers} thread${workers === 1 ? "" : "s"}`,
    reason,
    memory: Math.min(4 * 2 ** 30, totalmem() / 2),
    depth: 1,
    ...(arithmetic === "relaxed" && { rounding: multiplyAdd() }),
    open: async ({ program, module }) => {
      const free = () => collect(memoryOf(program).total);
      await free();
      return openWasm(program, module!, { workers, startThread, compile: compileOptimised, timed, settle: free });
    },
  };
}
