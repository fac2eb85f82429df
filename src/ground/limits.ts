/**
 * What a WebGPU device allows, as numbers: the compiler cuts to them, the runtime asks a device for them. Tests set them to something tiny.
 * Source of the guaranteed values: WebGPU, "3.6.2 Limits" (the default tier that every adapter supports).
 */

/** What decides the schedule: on a software adapter workgroup memory and barriers cost most, on a GPU they pay. */
export type DeviceClass = "software" | "hardware";

export interface WebGPULimits {
  readonly deviceClass: DeviceClass;
  /** Bytes one storage binding may span: no page is larger. */
  readonly bindingBytes: number;
  /** Storage buffers one dispatch may bind. */
  readonly bindings: number;
  /** Workgroups along one axis of a dispatch; larger grids are folded into two axes. */
  readonly workgroups: number;
  /** Invocations of one workgroup. */
  readonly invocations: number;
  /** Bytes of workgroup memory. */
  readonly workgroupBytes: number;
  /** Offsets of bindings are multiples of this. */
  readonly alignment: number;
}

/** What every device has: a program built for these runs in any page with WebGPU. */
export const guaranteed: WebGPULimits = {
  deviceClass: "hardware",
  bindingBytes: 128 * 1024 * 1024,
  bindings: 8,
  workgroups: 65535,
  invocations: 256,
  workgroupBytes: 16384,
  alignment: 256,
};
