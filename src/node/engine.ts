/** Which device runs it: asked for, or the best there is. */
import { totalmem } from "node:os";
import { NoDevice } from "../runtime/errors.ts";
import { hasRelaxed, multiplyAdd, openWasm, type WasmOptions } from "../runtime/wasm.ts";
import { openDevice, openWebGPU, type WebGPUDevice } from "../runtime/webgpu.ts";
import { backendEngine, type Driver, type Hooks } from "../train/engine/backend.ts";
import { memoryOf } from "../train/engine/budget.ts";
import type { Engine } from "../train/engine/engine.ts";
import { referenceEngine } from "../train/engine/reference.ts";
import { rememberingEngine } from "../train/engine/remember.ts";
import { dawn } from "./dawn.ts";
import { findNative, nativeDriver } from "./native/driver.ts";
import { cacheFolder, compilerCode, programCache } from "./program-cache.ts";
import { collect, compileOptimised, enableRelaxed, parallelism, startThread, WORKERS } from "./threads.ts";
import { torchEngine } from "./torch/engine.ts";

/** auto: a hardware WebGPU adapter if there is one, else WebAssembly; native kernels are asked for, as compiling them takes longer than a short run. */
export type DeviceChoice = "auto" | "webgpu" | "native" | "wasm" | "reference" | "torch";

/** Throws `NoDevice` where the device asked for is not there. `hooks`: to look at graphs between passes. `timed`: is told, on WebAssembly, when kernels ran. */
export async function openEngine(choice: DeviceChoice, hooks: Hooks = {}, timed?: WasmOptions["timed"]): Promise<Engine> {
  // kernels elsewhere run when the device likes, behind the back of whoever asks for the time
  if (timed !== undefined && choice !== "wasm") throw new NoDevice("only kernels on WebAssembly are timed", ["run it with --device wasm"]);
  switch (choice) {
    case "reference":
      return referenceEngine();
    case "torch":
      return torchEngine();
    case "wasm":
      return engineOf(wasmDriver("asked for", timed), hooks);
    case "native": {
      const found = await findNative();
      if (found instanceof NoDevice) throw found;
      return engineOf(nativeDriver(found, "asked for"), hooks);
    }
    case "webgpu":
      return engineOf(webgpuDriver(await openDevice(await dawn()), "asked for"), hooks);
    case "auto": {
      const found = await hardware();
      return typeof found === "string"
        ? engineOf(wasmDriver(found), hooks)
        : engineOf(webgpuDriver(found, "a hardware adapter is there"), hooks);
    }
  }
}

/** What looks at passes wants them to run. */
function engineOf(driver: Driver, hooks: Hooks): Engine {
  const engine = backendEngine(driver, hooks);
  if (Object.keys(hooks).length > 0) return engine;
  const [code, folder] = [compilerCode(), cacheFolder()];
  return rememberingEngine(engine, JSON.stringify([code, driver.target]), code && folder ? programCache(folder) : undefined);
}

/** A device on a hardware adapter, or why there is none. */
async function hardware(): Promise<WebGPUDevice | string> {
  try {
    const device = await openDevice(await dawn());
    if (device.limits.deviceClass === "hardware") return device;
    await device.close();
    return "the WebGPU adapter is a software one, slower than WebAssembly";
  } catch (error) {
    if (error instanceof NoDevice) return "no WebGPU adapter";
    throw error;
  }
}

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

function webgpuDriver(device: WebGPUDevice, reason: string): Driver {
  return {
    target: { target: "webgpu", limits: device.limits },
    device: device.name,
    reason,
    // no API says how much memory there is; what cannot be had is refused when it is asked for
    memory: Number.POSITIVE_INFINITY,
    depth: 2,
    open: ({ program }) => openWebGPU(program, device),
  };
}
