/** What happens to pictures before a model sees them, as the `preprocessor_config.json` of its folder says: resized, cropped, scaled, normalised; in that order. */
import { InputError } from "../../../ir/errors.ts";
import { describe, type Files, isRecord, type Json, type JsonRecord, joinPath, readRecord } from "../../files.ts";
import { centreCrop, type Raster, RESAMPLERS, resize } from "./resample.ts";

export interface Preprocessor {
  /** Height and width of what comes out. */
  readonly height: number;
  readonly width: number;
  /** f32[3, height, width] of a picture. */
  apply(image: Raster): Float32Array;
}

const FILE = "preprocessor_config.json";

/** P0718: a field of the wrong kind, or steps that leave pictures of different sizes. Without a file: P0719. */
export function readPreprocessor(files: Files, folder: string): Preprocessor {
  const path = joinPath(folder, FILE);
  if (files.stat(path) === undefined)
    throw new InputError("P0719", `\`${folder}\` has no \`${FILE}\`, which says how pictures are resized and scaled for the model`, [
      'in Python: `AutoImageProcessor.from_pretrained("…").save_pretrained("…")` writes it',
    ]);
  return new Steps(readRecord(files, path), path);
}

class Steps implements Preprocessor {
  readonly height: number;
  readonly width: number;
  private readonly change: (image: Raster) => Raster;
  private readonly scale: number;
  private readonly mean: readonly number[];
  private readonly std: readonly number[];

  constructor(
    private readonly config: JsonRecord,
    private readonly path: string,
  ) {
    const crops = this.flag("do_center_crop", false);
    const { shape, shortest } = this.sizeOf(config.size, crops);
    const crop = crops ? this.square(config.crop_size ?? config.size, "crop_size") : undefined;
    const out = crop ?? shape;
    if (!this.flag("do_resize", true) || out === undefined)
      throw this.wrong("size", config.size, "height and width (or a crop of them), so that all pictures come out alike");
    [this.height, this.width] = out;
    const resample = this.number("resample", 2);
    if (RESAMPLERS[resample] === undefined)
      throw this.wrong("resample", resample, `one of ${RESAMPLERS.map((name, i) => `${i} (${name})`).join(", ")}`);
    this.change = (image) => {
      const [height, width] = shape ?? edges(image, shortest!);
      const resized = resize(image, width, height, resample);
      return crop === undefined ? resized : centreCrop(resized, crop[1], crop[0]);
    };
    this.scale = this.flag("do_rescale", true) ? this.number("rescale_factor", 1 / 255) : 1;
    const normalises = this.flag("do_normalize", true);
    this.mean = normalises ? this.three("image_mean", [0.5, 0.5, 0.5]) : [0, 0, 0];
    this.std = normalises ? this.three("image_std", [0.5, 0.5, 0.5]) : [1, 1, 1];
  }

  apply(image: Raster): Float32Array {
    const { width, height, data } = this.change(image);
    const out = new Float32Array(3 * height * width);
    for (let c = 0; c < 3; c++) {
      const at = c * height * width;
      for (let i = 0; i < height * width; i++) out[at + i] = (Math.fround(data[i * 3 + c] * this.scale) - this.mean[c]) / this.std[c];
    }
    return out;
  }

  /** A number is a square's side, or the shorter edge where the middle is cut out afterwards. */
  private sizeOf(size: Json | undefined, crops: boolean): { shape?: [number, number]; shortest?: number } {
    if (size === undefined || size === null) return { shape: [224, 224] };
    if (typeof size === "number") return crops ? { shortest: size } : { shape: [size, size] };
    if (isRecord(size) && typeof size.shortest_edge === "number" && size.longest_edge === undefined)
      return { shortest: size.shortest_edge };
    return { shape: this.square(size, "size") };
  }

  private square(size: Json | undefined, field: string): [number, number] {
    if (typeof size === "number") return [size, size];
    if (isRecord(size) && typeof size.height === "number" && typeof size.width === "number") return [size.height, size.width];
    throw this.wrong(field, size, "a number, or height and width");
  }

  private flag(field: string, usual: boolean): boolean {
    const value = this.config[field] ?? usual;
    if (typeof value !== "boolean") throw this.wrong(field, value, "true or false");
    return value;
  }
  private number(field: string, usual: number): number {
    const value = this.config[field] ?? usual;
    if (typeof value !== "number") throw this.wrong(field, value, "a number");
    return value;
  }
  private three(field: string, usual: readonly number[]): readonly number[] {
    const value = this.config[field] ?? usual;
    if (!Array.isArray(value) || value.length !== 3 || !value.every((x) => typeof x === "number"))
      throw this.wrong(field, value as Json, "three numbers, for red, green and blue");
    return value;
  }
  private wrong(field: string, value: Json | undefined, wanted: string): InputError {
    return new InputError("P0718", `\`${this.path}\`: ${field} is ${describe(value)} where ${wanted} is wanted`);
  }
}

/** The shorter edge as asked, the longer in proportion. */
function edges({ width, height }: Raster, shortest: number): [height: number, width: number] {
  const longer = Math.trunc((shortest * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? [longer, shortest] : [shortest, longer];
}
