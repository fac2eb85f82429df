/** The processor by native kernels, where a compiler for C and `koffi` are at hand. */
import { NoDevice } from "../../runtime/errors.ts";
import { type Device, engineOf } from "../device.ts";
import { findNative, nativeDriver } from "./driver.ts";

export const native: Device = {
  doc: "the processor, by kernels that its compiler compiles",
  open: async ({ reason, hooks }) => {
    const found = await findNative();
    if (found instanceof NoDevice) throw found;
    return engineOf(nativeDriver(found, reason), hooks);
  },
};
