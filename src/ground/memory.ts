/** Facts of WebAssembly's memory, and of how kernels read it, that what prints kernels and what runs them share. */

/** Bytes of a page: a memory is so many whole ones. */
export const WASM_PAGE = 65536;
/** So many bytes in whole pages. */
export const wholePages = (bytes: number): number => Math.ceil(bytes / WASM_PAGE) * WASM_PAGE;
/** Bytes that one memory of 32-bit addresses holds. */
export const WASM_BYTES = 2 ** 32 - WASM_PAGE;
/** Bytes: loads of whole vectors may read this far beyond the last element. */
export const SLACK = 64;
