/** WebGPU in Node: Dawn, from the optional package `webgpu`, loaded when it is first wanted. */
import { NoDevice } from "../runtime/errors.ts";

let loading: Promise<GPU> | undefined;

async function load(): Promise<GPU> {
  let dawn: typeof import("webgpu");
  try {
    dawn = await import("webgpu");
  } catch (error) {
    throw new NoDevice("WebGPU in Node needs the optional package `webgpu` (Dawn), which could not be loaded", [
      `the loader says: ${(error instanceof Error ? error.message : String(error)).split("\n")[0]}`,
      "install it with `npm install webgpu`, or run on WebAssembly with `--device wasm`",
    ]);
  }
  return dawn.create([]);
}

/** The `GPU` object that a page has as `navigator.gpu`. Throws `NoDevice` where Dawn is not installed or has no build for this platform. */
export function dawn(): Promise<GPU> {
  loading ??= load();
  return loading;
}
