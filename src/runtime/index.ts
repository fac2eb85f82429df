/**
 * `peftc/runtime`: runs compiled programs, without the compiler, in a page or in Node. In Node the `GPU` to hand in comes from the package `webgpu`
 * (`create([])`), in a page it is `navigator.gpu`.
 */

export type * from "../ground/program.ts";
export { DeviceError, DeviceLost, NoDevice, OutOfMemory } from "./errors.ts";
export { type StartThread, startWorker, type Thread } from "./threads.ts";
export { hasRelaxed, hasSharedMemory, openWasm, type WasmOptions } from "./wasm.ts";
export { openDevice, openWebGPU, type WebGPUDevice } from "./webgpu.ts";
