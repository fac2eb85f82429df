/** Running a compiled program on WebGPU: in a page on `navigator.gpu`, in Node on Dawn's. */
export { openDevice, type WebGPUDevice } from "./webgpu/device.ts";

import type { Program, Session } from "../ground/program.ts";
import type { WebGPUDevice } from "./webgpu/device.ts";
import { WebGPUSession } from "./webgpu/session.ts";

/**
 * Allocates a program's memory on the device and writes its constants; parameters and states are the caller's to write. One device may hold several
 * sessions. Throws `OutOfMemory` or `DeviceLost`, and `InputError` where the program was built for a larger device.
 */
export const openWebGPU = (program: Program, device: WebGPUDevice): Promise<Session> => WebGPUSession.open(program, device);
