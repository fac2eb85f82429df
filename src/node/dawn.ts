/** WebGPU in Node: Dawn, from the optional package `webgpu`, loaded when it is first wanted. */
import { NoDevice } from "../runtime/errors.ts";

let loading: Promise<GPU> | undefined;

/**
 * Whether the dynamic loader has Vulkan, which Dawn needs on Linux; without it Dawn itself would say so on the terminal, past us. Opening a library
 * that is no addon of Node fails either way: what counts is how.
 */
function hasVulkan(): boolean {
  if (process.platform !== "linux") return true;
  try {
    process.dlopen({ exports: {} }, "libvulkan.so.1");
    return true;
  } catch (error) {
    return !/cannot open shared object file/.test(String(error));
  }
}

async function load(): Promise<GPU> {
  if (!hasVulkan()) {
    throw new NoDevice("WebGPU found no Vulkan loader (libvulkan.so.1) on this machine", [
      "install a GPU driver with Vulkan and its loader (Debian, Ubuntu: `libvulkan1`)",
      "or run on WebAssembly with `--device wasm`",
    ]);
  }
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
