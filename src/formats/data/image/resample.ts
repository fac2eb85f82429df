/**
 * Resizing as Pillow does it, to the last bit: each output pixel is a weighted mean of those that its filter, widened where the picture shrinks, lies over; rows first, then columns,
 * each rounded to 8 bits; weights are fixed-point numbers of 22 bits.
 */

/** Bytes of red, green and blue, row by row. */
export interface Raster {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

interface Filter {
  /** How far it reaches at the picture's own size. */
  readonly support: number;
  at(x: number): number;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

/** By Pillow's numbers for `resample`; 0 is the nearest pixel. */
const FILTERS: Readonly<Record<number, Filter>> = {
  1: { support: 3, at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
  2: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  3: { support: 2, at: cubic },
  4: { support: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  5: { support: 1, at: hamming },
};
export const RESAMPLERS: readonly string[] = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"];

function cubic(signed: number): number {
  const x = Math.abs(signed);
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

function hamming(signed: number): number {
  const x = Math.abs(signed);
  if (x === 0) return 1;
  return x >= 1 ? 0 : (Math.sin(x * Math.PI) / (x * Math.PI)) * (0.54 + 0.46 * Math.cos(x * Math.PI));
}

const BITS = 22;

interface Weights {
  readonly first: number;
  readonly values: readonly number[];
}

/** For each of `out` pixels, which of `size` it is made of. */
function weightsOf(size: number, out: number, filter: Filter): Weights[] {
  const scale = size / out;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  return Array.from({ length: out }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(size, Math.trunc(centre + support + 0.5));
    const plain = Array.from({ length: last - first }, (_, j) => filter.at((j + first - centre + 0.5) / stretch));
    const sum = plain.reduce((total, w) => total + w, 0);
    const fixed = (w: number) => Math.trunc((w < 0 ? -0.5 : 0.5) + w * 2 ** BITS);
    return { first, values: plain.map((w) => fixed(sum === 0 ? w : w / sum)) };
  });
}

const clip = (sum: number): number => Math.min(255, Math.max(0, Math.floor(sum / 2 ** BITS)));

export function resize(image: Raster, width: number, height: number, resample: number): Raster {
  if (image.width === width && image.height === height) return image;
  const filter = FILTERS[resample];
  if (filter === undefined) return nearest(image, width, height);
  const wide = image.width === width ? image : across(image, width, filter);
  return image.height === height ? wide : down(wide, height, filter);
}

function across(image: Raster, width: number, filter: Filter): Raster {
  const weights = weightsOf(image.width, width, filter);
  const data = new Uint8Array(width * image.height * 3);
  for (let y = 0; y < image.height; y++) {
    for (const [x, { first, values }] of weights.entries()) {
      for (let c = 0; c < 3; c++) {
        let sum = 2 ** (BITS - 1);
        for (let k = 0; k < values.length; k++) sum += image.data[(y * image.width + first + k) * 3 + c] * values[k];
        data[(y * width + x) * 3 + c] = clip(sum);
      }
    }
  }
  return { width, height: image.height, data };
}

function down(image: Raster, height: number, filter: Filter): Raster {
  const weights = weightsOf(image.height, height, filter);
  const row = image.width * 3;
  const data = new Uint8Array(height * row);
  for (const [y, { first, values }] of weights.entries()) {
    for (let i = 0; i < row; i++) {
      let sum = 2 ** (BITS - 1);
      for (let k = 0; k < values.length; k++) sum += image.data[(first + k) * row + i] * values[k];
      data[y * row + i] = clip(sum);
    }
  }
  return { width: image.width, height, data };
}

function nearest(image: Raster, width: number, height: number): Raster {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const fromY = Math.min(image.height - 1, Math.floor((y + 0.5) * (image.height / height)));
    for (let x = 0; x < width; x++) {
      const fromX = Math.min(image.width - 1, Math.floor((x + 0.5) * (image.width / width)));
      for (let c = 0; c < 3; c++) data[(y * width + x) * 3 + c] = image.data[(fromY * image.width + fromX) * 3 + c];
    }
  }
  return { width, height, data };
}

/** The middle of a picture; what lies outside of it is black. */
export function centreCrop(image: Raster, width: number, height: number): Raster {
  const left = Math.floor((image.width - width) / 2);
  const top = Math.floor((image.height - height) / 2);
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [fromX, fromY] = [x + left, y + top];
      if (fromX < 0 || fromY < 0 || fromX >= image.width || fromY >= image.height) continue;
      for (let c = 0; c < 3; c++) data[(y * width + x) * 3 + c] = image.data[(fromY * image.width + fromX) * 3 + c];
    }
  }
  return { width, height, data };
}
