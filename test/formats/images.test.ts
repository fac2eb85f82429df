/** Pictures as Pillow and the image processors of transformers prepare them; the expected numbers were made with Pillow 12.3. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { readPreprocessor } from "../../src/formats/data/image/preprocess.ts";
import { type Raster, resize } from "../../src/formats/data/image/resample.ts";
import { decodeImage } from "../../src/node/images.ts";
import { refusal } from "../support/refusal.ts";
import { lines, made, rows, spec, wordFiles } from "./words.ts";

const folder = path.join(import.meta.dirname, "images");
const bytes = (name: string) => new Uint8Array(readFileSync(path.join(folder, name)));
const pillow = JSON.parse(readFileSync(path.join(folder, "pillow.json"), "utf8")) as {
  [name: string]: { width: number; height: number; resample: number; data: number[] };
} & { vit: number[]; crop: number[]; jpeg: { width: number; height: number; data: number[] } };
const noise = decodeImage(bytes("noise.png"));

test("PNG and JPEG are read", () => {
  expect([noise.width, noise.height]).toEqual([10, 7]);
  const smooth = decodeImage(bytes("smooth.jpg"));
  expect([smooth.width, smooth.height]).toEqual([24, 16]);
  // decoders of JPEG differ in how they spread colours, which are stored at half the size
  const worst = Math.max(...pillow.jpeg.data.map((value, i) => Math.abs(value - smooth.data[i])));
  expect(worst).toBeLessThanOrEqual(12);
});

test.each(Object.keys(pillow).filter((name) => / \d$/.test(name)))("resizing is Pillow's: %s", (name) => {
  const { width, height, resample, data } = pillow[name];
  expect([...resize(noise, width, height, resample).data]).toEqual(data);
});

describe("image processors", () => {
  const apply = (config: object, image: Raster = noise) =>
    readPreprocessor(wordFiles({ "v/preprocessor_config.json": config }), "v").apply(image);
  test("resize, rescale, normalise", () => {
    const made = apply({
      do_resize: true,
      size: { height: 5, width: 5 },
      resample: 2,
      image_mean: [0.5, 0.5, 0.5],
      image_std: [0.5, 0.5, 0.5],
    });
    expect(made).toHaveLength(75);
    pillow.vit.forEach((value, i) => expect(made[i]).toBeCloseTo(value, 5));
    expect(apply({ size: 5 })).toEqual(made);
  });
  test("the shorter edge, then the middle", () => {
    const made = apply({
      size: { shortest_edge: 5 },
      resample: 3,
      do_center_crop: true,
      crop_size: { height: 4, width: 4 },
      do_rescale: false,
      do_normalize: false,
    });
    const planes = [0, 1, 2].flatMap((c) => pillow.crop.filter((_, i) => i % 3 === c));
    expect([...made]).toEqual(planes);
  });
  test("what cannot be is refused", () => {
    expect(refusal(() => apply({ size: { shortest_edge: 5 } }))).toMatch(/^P0718.*size is an object where height and width/);
    expect(refusal(() => apply({ image_mean: [0.5] }))).toMatch(/^P0718.*image_mean is a list of 1/);
    expect(refusal(() => apply({ resample: 9 }))).toMatch(/^P0718.*resample is the number 9 where one of 0 \(nearest\)/);
    expect(refusal(() => readPreprocessor(wordFiles(), "v"))).toMatch(/^P0719/);
  });
});

describe("folders of pictures", () => {
  const config = { "m/preprocessor_config.json": { size: 5 } };
  const files = (more: Record<string, string | object>, pictures: readonly string[]) => {
    const all = wordFiles({ ...config, ...more });
    for (const name of pictures) all.content.set(name, bytes("noise.png"));
    return all;
  };
  const context = { decodeImage };
  test("a folder a class, in an order that mixes them", () => {
    const names = ["cats", "dogs"].flatMap((label) => Array.from({ length: 8 }, (_, i) => `d/${label}/${i}.png`));
    const all = files({}, names);
    const table = made(all, spec("images", ["d"], { split: 0.5 }), context);
    expect(table.rows).toBe(8);
    expect([...table.columns.keys()]).toEqual(["pixel_values", "label"]);
    expect(table.columns.get("pixel_values")!.shape(0)).toEqual([3, 5, 5]);
    pillow.vit.forEach((value, i) => expect(table.columns.get("pixel_values")!.row(3)[i]).toBeCloseTo(value, 5));
    expect(new Set(rows(table, "label").flat())).toEqual(new Set([0, 1]));
    const held = made(all, { ...spec("images", ["d"], { split: 0.5 }), part: "held" }, context);
    expect(new Set(rows(held, "label").flat())).toEqual(new Set([0, 1]));
    // the configuration's names number the classes
    const named = files({ "m/config.json": { id2label: { 0: "dogs", 1: "cats" } } }, names);
    expect(rows(made(named, spec("images", ["d"]), context), "label")).toEqual(
      rows(made(all, spec("images", ["d"]), context), "label").map(([x]) => [1 - x]),
    );
  });
  test("a list of files with what is known of them", () => {
    const listed = files(
      {
        "d/metadata.jsonl": lines([
          { file_name: "a.png", label: 1, score: 0.5 },
          { file_name: "b.png", label: 0, score: 1 },
        ]),
      },
      ["d/a.png"],
    );
    const table = made(listed, spec("images", ["d"], { columns: ["score"] }), context);
    expect([rows(table, "label"), rows(table, "score")]).toEqual([
      [[1], [0]],
      [[0.5], [1]],
    ]); // prettier-ignore
    expect(refusal(() => table.columns.get("pixel_values")!.row(1))).toMatch(/^P0680 `d\/b.png`/);
    listed.content.set("d/b.png", new Uint8Array([1, 2, 3]));
    expect(refusal(() => table.columns.get("pixel_values")!.row(1))).toMatch(/^P0720 `d\/b.png` cannot be read as a picture/);
    expect(refusal(() => made(files({ "d/metadata.jsonl": lines([{ name: "a.png" }]) }, []), spec("images", ["d"]), context))).toMatch(
      /^P0705.*line 1 has no `file_name`/,
    );
    expect(refusal(() => made(files({ "d/notes.txt": "" }, []), spec("images", ["d"]), context))).toMatch(/^P0700.*no pictures/);
  });
});
