/** Pictures from the bytes of PNG and JPEG files. */
import jpeg from "jpeg-js";
import { PNG } from "pngjs";
import type { Raster } from "../formats/data/image/resample.ts";

/** Red, green and blue; what is transparent keeps its colour. Throws where the bytes are no such picture. */
export function decodeImage(bytes: Uint8Array): Raster {
  const isPng = bytes[0] === 0x89 && bytes[1] === 0x50;
  const { width, height, data } = isPng ? PNG.sync.read(Buffer.from(bytes)) : jpeg.decode(bytes, { useTArray: true, formatAsRGBA: true });
  const out = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) for (let c = 0; c < 3; c++) out[i * 3 + c] = data[i * 4 + c];
  return { width, height, data: out };
}
