/** From an adapter to a device with the adapter's own limits, and what the compiler needs to know of it. */
import type { DeviceClass, WebGPULimits } from "../../ground/limits.ts";
import { Bug } from "../../ir/errors.ts";
import { DeviceLost, NoDevice } from "../errors.ts";

export interface WebGPUDevice {
  readonly device: GPUDevice;
  /** In words: `webgpu, NVIDIA ampere` or `webgpu, SwiftShader (software)`. */
  readonly name: string;
  readonly limits: WebGPULimits;
  /** Throws `DeviceLost` once the device is gone, our own `Bug` once it reported a misuse; called before work and after waiting. */
  check(): void;
  /** Gives the device back, and waits until it is gone: Node's process ends only then. Sessions must be closed before. */
  close(): Promise<void>;
}

/** Limits that kernels use beyond what is guaranteed; they are granted only when asked for by name. */
const WANTED = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupsPerDimension",
] as const;

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|warp|basic render|software/i;

function classOf(info: Partial<GPUAdapterInfo>): DeviceClass {
  if (info.isFallbackAdapter) return "software";
  return SOFTWARE.test([info.vendor, info.architecture, info.device, info.description].join(" ")) ? "software" : "hardware";
}

/**
 * Asks `gpu` (a page's `navigator.gpu`, or Dawn's) for its adapter and a device with all the adapter allows. Throws `NoDevice` where there is none.
 */
export async function openDevice(gpu: GPU | undefined): Promise<WebGPUDevice> {
  if (gpu === undefined) {
    throw new NoDevice("this browser has no WebGPU", ["use a browser with WebGPU over https or localhost", "or run on WebAssembly"]);
  }
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" }).catch((e: unknown) => {
    throw new NoDevice(`WebGPU gave no adapter: ${String(e)}`, ["or run on WebAssembly"]);
  });
  if (adapter === null) {
    throw new NoDevice("WebGPU found no adapter on this machine", [
      "is a GPU driver with Vulkan, Metal or Direct3D 12 installed?",
      "or run on WebAssembly with `--device wasm`",
    ]);
  }
  const requiredLimits = Object.fromEntries(WANTED.map((name) => [name, adapter.limits[name]]));
  const device = await adapter.requestDevice({ requiredLimits }).catch((e: unknown) => {
    throw new NoDevice(`WebGPU gave no device: ${String(e)}`, [
      "another page or program may hold it: close that, or reload",
      "or run on WebAssembly",
    ]);
  });
  // older browsers do not say what it is
  const info: Partial<GPUAdapterInfo> = adapter.info ?? {};
  const deviceClass = classOf(info);
  const words = [info.vendor, info.architecture].filter(Boolean).join(" ") || "unnamed adapter";

  let failed: Error | undefined;
  void device.lost.then((lost) => {
    failed =
      lost.reason === "destroyed"
        ? new DeviceLost("the device was closed")
        : new DeviceLost(`the device was lost: ${lost.message || "the driver gave no reason"}`, [
            "a dispatch may have run too long for the driver, or memory ran out: try a smaller batch or sequence",
            "training goes on from the last checkpoint with `--resume`",
          ]);
  });
  device.addEventListener("uncapturederror", (event) => {
    failed ??= new Bug(`the device reports: ${event.error.message}`);
  });

  const limits = device.limits;
  return {
    device,
    name: `webgpu, ${words}${deviceClass === "software" ? " (software)" : ""}`,
    limits: {
      deviceClass,
      bindingBytes: Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize),
      bindings: limits.maxStorageBuffersPerShaderStage,
      workgroups: limits.maxComputeWorkgroupsPerDimension,
      invocations: limits.maxComputeInvocationsPerWorkgroup,
      workgroupBytes: limits.maxComputeWorkgroupStorageSize,
      alignment: limits.minStorageBufferOffsetAlignment,
    },
    check() {
      if (failed) throw failed;
    },
    async close() {
      device.destroy();
      await device.lost;
    },
  };
}
