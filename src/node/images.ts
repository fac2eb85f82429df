/** Pictures from the bytes of PNG and JPEG files. */

import { createRequire } from "node:module";
import type { Raster } from "../formats/data/image/resample.ts";
import { Malformed } from "../ir/errors.ts";

// loaded where there is a picture
const load = createRequire(import.meta.url);

/** Pixels that a picture may have: what a file says in a few bytes may take any amount of memory. */
const PIXELS = 100_000_000;

/** Throws where the head of a PNG file, which stands first in it, gives a size that no picture here has. */
function requireSize(bytes: Uint8Array): void {
  if (bytes.length < 33) throw new Malformed("the file is cut off");
  const head = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [width, height] = [head.getUint32(16), head.getUint32(20)];
  if (width === 0 || height === 0 || width * height > PIXELS)
    throw new Malformed(`it says that it has ${width} × ${height} pixels; from 1 to ${PIXELS} are read`);
}

/** Throws what the library says, and in its words also where it reads past the end. */
function readPng(bytes: Uint8Array): { readonly width: number; readonly height: number; readonly data: Uint8Array } {
  try {
    return (load("pngjs") as typeof import("pngjs")).PNG.sync.read(Buffer.from(bytes));
  } catch (error) {
    throw (error as { code?: unknown }).code === "ERR_BUFFER_OUT_OF_BOUNDS" ? new Malformed("a part of it is too short") : error;
  }
}

/** Red, green and blue; what is transparent keeps its colour. Throws where the bytes are no such picture. */
export function decodeImage(bytes: Uint8Array): Raster {
  const isPng = bytes[0] === 0x89 && bytes[1] === 0x50;
  if (isPng) requireSize(bytes);
  const options = {
    useTArray: true,
    formatAsRGBA: true,
    maxResolutionInMP: PIXELS / 1e6,
    maxMemoryUsageInMB: (PIXELS * 16) / 1e6,
  } as const;
  const { width, height, data } = isPng ? readPng(bytes) : (load("jpeg-js") as typeof import("jpeg-js")).decode(bytes, options);
  const out = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) for (let c = 0; c < 3; c++) out[i * 3 + c] = data[i * 4 + c];
  return { width, height, data: out };
}
