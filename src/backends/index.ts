/** Targets whose kernels are printed. What runs graphs as they are stands in `src/runtime/reference.ts` and `src/backends/torch`; devices are listed in `src/node/engine.ts`. */
import type { Backend, TargetOptions } from "./backend.ts";
import { native } from "./native/backend.ts";
import { wasm } from "./wasm/backend.ts";
import { webgpu } from "./webgpu/backend.ts";

const BACKENDS: { readonly [K in TargetOptions["target"]]: Backend<Extract<TargetOptions, { readonly target: K }>> } = {
  wasm,
  native,
  webgpu,
};

/** The backend of a target. It is asked with options of that target alone. */
export const backendOf = ({ target }: TargetOptions): Backend => BACKENDS[target] as Backend;
