/** A device as a value: what opens an engine on it. `engine.ts` lists them. */
import type { WasmOptions } from "../runtime/wasm.ts";
import { backendEngine, type Driver, type Hooks } from "../train/engine/backend.ts";
import type { Engine } from "../train/engine/engine.ts";
import { rememberingEngine } from "../train/engine/remember.ts";
import { cacheFolder, compilerCode, programCache } from "./program-cache.ts";

export interface Opening {
  /** Why this device, in words. */
  readonly reason: string;
  /** To look at graphs between passes. */
  readonly hooks: Hooks;
  /** Is told when kernels ran. */
  readonly timed?: WasmOptions["timed"];
}

export interface Device {
  /** What computes, in a line. */
  readonly doc: string;
  /** Kernels run when the session says, so that they can be timed. */
  readonly timed?: true;
  /** Other processes compute: it is asked for by `--on`, not by `--device`. */
  readonly elsewhere?: true;
  /** Throws `NoDevice` where it is not there. */
  open(how: Opening): Promise<Engine>;
}

/** What looks at passes wants them to run. */
export function engineOf(driver: Driver, hooks: Hooks): Engine {
  const engine = backendEngine(driver, hooks);
  if (Object.keys(hooks).length > 0) return engine;
  const [code, folder] = [compilerCode(), cacheFolder()];
  return rememberingEngine(engine, JSON.stringify([code, driver.target]), code && folder ? programCache(folder) : undefined);
}
