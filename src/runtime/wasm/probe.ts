/** What the WebAssembly engine at hand can do. */

/** (module (func (result v128) (f32x4.relaxed_madd (v128.const ...) ...))) */
const RELAXED = Uint8Array.from([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 0, 253, 17, 65, 0, 253, 17, 65, 0, 253, 17, 253,
  133, 2, 11,
]);

/** Whether the engine takes fused multiply-adds (relaxed SIMD). */
export const hasRelaxed = (): boolean => WebAssembly.validate(RELAXED);

/** Whether memory can be shared among threads: always in Node, in a page with cross-origin isolation. */
export const hasSharedMemory = (): boolean => typeof SharedArrayBuffer !== "undefined";
