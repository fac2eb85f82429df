/** Native kernels as a device: printed as C, compiled by the compiler at hand, called by `koffi` from worker threads. */
import { createRequire } from "node:module";
import { availableParallelism, totalmem } from "node:os";
import type { NativeFile } from "../../backends/native/files.ts";
import { CALL } from "../../backends/native/print.ts";
import { NoDevice } from "../../runtime/errors.ts";
import type { NativeCode } from "../../runtime/wasm/worker.ts";
import { openWasm } from "../../runtime/wasm.ts";
import type { Driver } from "../../train/engine/backend.ts";
import { memoryOf } from "../../train/engine/budget.ts";
import { collect, startThread, WORKERS } from "../threads.ts";
import { Cache } from "./cache.ts";
import { type Compiler, findCompiler } from "./compiler.ts";

const require = createRequire(import.meta.url);

/** Where `koffi` is, or why it cannot be loaded. */
export function findKoffi(load: (place: string) => unknown = require): string | NoDevice {
  try {
    const place = require.resolve("koffi");
    load(place);
    return place;
  } catch (error) {
    return new NoDevice("native kernels are called through the optional package `koffi`, which could not be loaded", [
      `the loader says: ${(error instanceof Error ? error.message : String(error)).split("\n")[0]}`,
      "install it with `npm install koffi`, or run on WebAssembly with `--device wasm`",
    ]);
  }
}

/** A compiler that was seen to work, where its files go, and `koffi`. */
export interface Native {
  readonly compiler: Compiler;
  readonly cache: Cache;
  readonly koffi: string;
}

const SMALL = `int peftc_works(int x) { return x + 1; }\n`;

/** What native kernels need, or why there are none. */
export async function findNative(): Promise<Native | NoDevice> {
  const koffi = findKoffi();
  if (koffi instanceof NoDevice) return koffi;
  const compiler = await findCompiler();
  if (compiler instanceof NoDevice) return compiler;
  const cache = Cache.open();
  try {
    await cache.library(compiler, SMALL);
  } catch (error) {
    if (error instanceof NoDevice) return error;
    throw error;
  }
  return { compiler, cache, koffi };
}

/** Compiles files, several at once, and says where their kernels are. */
export async function compileFiles({ compiler, cache, koffi }: Native, files: readonly NativeFile[]): Promise<NativeCode> {
  const libraries: string[] = new Array<string>(files.length);
  let next = 0;
  const work = async () => {
    for (let i = next++; i < files.length; i = next++) libraries[i] = await cache.library(compiler, files[i].text);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  cache.trim();
  const kernels = files.flatMap(({ kernels }, library) => kernels.map((name, i) => [name, [library, i]] as const));
  return { koffi, libraries, call: CALL, kernels: Object.fromEntries(kernels) };
}

export function nativeDriver(native: Native, reason: string): Driver {
  const { compiler, cache } = native;
  const workers = Math.min(WORKERS, availableParallelism());
  return {
    target: { target: "native", machine: compiler.machine, workers },
    device: `native, ${workers} thread${workers === 1 ? "" : "s"}, ${compiler.machine.lanes} lanes`,
    reason: cache.instead === undefined ? reason : `${reason}; ${cache.instead}`,
    memory: Math.min(4 * 2 ** 30, totalmem() / 2),
    depth: 1,
    rounding: `by ${compiler.version}`,
    open: async ({ program, files }) => {
      // compiled while weights are read
      const code = compileFiles(native, files ?? []);
      code.catch(() => {});
      const free = () => collect(memoryOf(program).total);
      await free();
      return openWasm(program, undefined, { workers, startThread, native: code, settle: free });
    },
  };
}
