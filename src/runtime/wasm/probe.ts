/** What the WebAssembly engine at hand can do. */

/** (module (func (result v128) (f32x4.relaxed_madd (v128.const ...) ...))) */
const RELAXED = Uint8Array.from([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 0, 253, 17, 65, 0, 253, 17, 65, 0, 253, 17, 253,
  133, 2, 11,
]);

/** Whether the engine takes fused multiply-adds (relaxed SIMD). */
export const hasRelaxed = (): boolean => WebAssembly.validate(RELAXED);

/** (module (func (export "f") (param f32 f32 f32) (result f32) (f32x4.extract_lane 0 (f32x4.relaxed_madd (splat 0) (splat 1) (splat 2))))) */
const MADD = Uint8Array.from([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 125, 125, 125, 1, 125, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 22, 1, 20, 0, 32, 0, 253, 19,
  32, 1, 253, 19, 32, 2, 253, 19, 253, 133, 2, 253, 31, 0, 11,
]);

/** How a relaxed multiply-add rounds on this processor: once (`fused`), or the product first (`apart`). `undefined`: there is none. */
export function multiplyAdd(): "fused" | "apart" | undefined {
  if (!hasRelaxed()) return undefined;
  const { f } = new WebAssembly.Instance(new WebAssembly.Module(MADD)).exports as { f: (x: number, y: number, z: number) => number };
  // the square has a last bit, 2^-24, that f32 has no room for
  const x = 1 + 2 ** -12;
  return f(x, x, -(1 + 2 ** -11)) === 2 ** -24 ? "fused" : "apart";
}

/** (module (func (result v128) (v128.const i32x4 0 0 0 0))) */
const SIMD = Uint8Array.from([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 22, 1, 20, 0, 253, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0, 11,
]);

/** Whether there is WebAssembly at all: some browsers' modes switch it off. */
export const hasWasm = (): boolean => typeof WebAssembly === "object" && typeof WebAssembly.validate === "function";
/** Whether the engine takes vectors of 128 bits, which every kernel is made of. */
export const hasSimd = (): boolean => hasWasm() && WebAssembly.validate(SIMD);

/** Whether memory can be shared among threads: always in Node, in a page with cross-origin isolation. */
export const hasSharedMemory = (): boolean => typeof SharedArrayBuffer !== "undefined";
