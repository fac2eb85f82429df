/** WebGPU in Node. */
import { NoDevice } from "../runtime/errors.ts";
import { openDevice, openWebGPU, type WebGPUDevice } from "../runtime/webgpu.ts";
import type { Driver } from "../train/engine/backend.ts";
import type { Engine } from "../train/engine/engine.ts";
import { dawn } from "./dawn.ts";
import { type Device, engineOf, type Opening } from "./device.ts";

export const webgpu: Device = {
  doc: "a graphics processor by WebGPU",
  open: async ({ reason, hooks }) => engineOf(webgpuDriver(await openDevice(await dawn()), reason), hooks),
};

/** The engine on a hardware adapter, or why there is none. */
export async function hardwareEngine({ reason, hooks }: Opening): Promise<Engine | string> {
  const found = await hardware();
  return typeof found === "string" ? found : engineOf(webgpuDriver(found, reason), hooks);
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
