/** The devices, and which of them runs it: asked for, or the best there is. */
import { NoDevice } from "../runtime/errors.ts";
import type { WasmOptions } from "../runtime/wasm.ts";
import type { Hooks } from "../train/engine/backend.ts";
import type { Engine } from "../train/engine/engine.ts";
import { referenceEngine } from "../train/engine/reference.ts";
import type { Device } from "./device.ts";
import { native } from "./native/device.ts";
import { torchEngine } from "./torch/engine.ts";
import { wasm } from "./wasm.ts";
import { hardwareEngine, webgpu } from "./webgpu.ts";

export const DEVICES = {
  webgpu,
  native,
  wasm,
  reference: { doc: "the f64 interpreter, node by node", open: async () => referenceEngine() },
  torch: { doc: "PyTorch in a process of its own", elsewhere: true, open: async ({ hooks }) => torchEngine({ hooks }) },
} as const satisfies Readonly<Record<string, Device>>;

/** auto: a hardware WebGPU adapter if there is one, else WebAssembly; native kernels are asked for, as compiling them takes longer than a short run. */
export type DeviceChoice = "auto" | keyof typeof DEVICES;

/** Throws `NoDevice` where the device asked for is not there. `hooks`: to look at graphs between passes. `timed`: is told when kernels ran, where a device times them. */
export async function openEngine(choice: DeviceChoice, hooks: Hooks = {}, timed?: WasmOptions["timed"]): Promise<Engine> {
  const asked: Device | undefined = choice === "auto" ? undefined : DEVICES[choice];
  // kernels elsewhere run when the device likes, behind the back of whoever asks for the time
  if (timed !== undefined && !asked?.timed) throw new NoDevice("only kernels on WebAssembly are timed", ["run it with --device wasm"]);
  if (asked !== undefined) return asked.open({ reason: "asked for", hooks, ...(timed && { timed }) });
  const found = await hardwareEngine({ reason: "a hardware adapter is there", hooks });
  return typeof found === "string" ? wasm.open({ reason: found, hooks }) : found;
}
