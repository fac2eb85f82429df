/** `images`: a folder with a folder of pictures for each class, or with a `metadata.jsonl` that names them; as columns `pixel_values` and `label`. */

import type { TableSpec } from "../../../ground/table.ts";
import { Bug, InputError } from "../../../ir/errors.ts";
import { keyOf, threefry } from "../../../ir/random.ts";
import { baseName, type Files, joinPath, readBytes } from "../../files.ts";
import { givenColumn, labelColumn } from "../encode.ts";
import { type Preprocessor, readPreprocessor } from "../image/preprocess.ts";
import { namesIn } from "../labels.ts";
import { type Row, readJsonLines } from "../records.ts";
import { given, type Kitchen, type Maker, numberingOf, partOf, pathOf, stringOption, wrong } from "../spec.ts";
import type { Column } from "../table.ts";

const ENDINGS = /\.(png|jpe?g)$/i;
const METADATA = "metadata.jsonl";
const FILE = "file_name";

export const images: Maker = {
  table(spec, kitchen) {
    const folder = pathOf(spec);
    const { files, tokenizer: model } = kitchen;
    const pictures = listPictures(files, folder);
    const part = partOf(spec, pictures.length);
    if (part === undefined) return undefined;
    if (model === undefined)
      throw new InputError(
        "P0719",
        `\`${folder}\` holds pictures, and the stage's model comes from no folder that says how they are prepared`,
      );
    const preprocessor = readPreprocessor(files, model);
    const rows = pictures.slice(...part);
    const columns = new Map([["pixel_values", pixelColumn(rows, preprocessor, kitchen)]]);
    const label = labelOption(spec, pictures);
    let made: ReturnType<typeof labelColumn> | undefined;
    if (label !== undefined) {
      made = labelColumn(pictures, label, numberingOf(spec, kitchen, model), folder, part);
      columns.set("label", made.column);
    }
    const { columns: wanted } = spec.options;
    if (given(wanted) && !Array.isArray(wanted)) throw wrong(spec, "`columns`", wanted, "a list of names");
    for (const name of (wanted ?? []) as string[]) columns.set(name, givenColumn(rows, name, folder));
    return { name: `\`${folder}\``, rows: rows.length, columns, ...(made?.classes && { classes: made.classes }) };
  },
  classes(spec, { files }) {
    const pictures = listPictures(files, pathOf(spec));
    const label = labelOption(spec, pictures);
    return label === undefined ? undefined : { names: namesIn(pictures, label), file: pathOf(spec) };
  },
};

function labelOption(spec: TableSpec, rows: readonly Row[]): string | undefined {
  const asked = stringOption(spec, "label");
  return asked ?? (rows[0].values.label === undefined ? undefined : "label");
}

/** Pictures with what is known of them. P0700: none. P0705: a row of the metadata names none. P0680: one that is not there. */
function listPictures(files: Files, folder: string): Row[] {
  const metadata = joinPath(folder, METADATA);
  if (files.stat(metadata) !== undefined) {
    const rows = readJsonLines(files, metadata);
    if (rows.length === 0) throw new InputError("P0700", `\`${metadata}\` has no rows`);
    return rows.map(({ line, values }) => {
      const name = values[FILE];
      if (typeof name !== "string")
        throw new InputError("P0705", `\`${metadata}\`, line ${line} has no \`${FILE}\``, [`it has ${Object.keys(values).join(", ")}`]);
      return { line, values: { ...values, [FILE]: joinPath(folder, name) } };
    });
  }
  const classes = files.list(folder).filter((name) => files.stat(joinPath(folder, name))?.kind === "folder");
  const found = classes.flatMap((label) => {
    const inside = joinPath(folder, label);
    return files
      .list(inside)
      .filter((name) => ENDINGS.test(name))
      .map((name) => ({ [FILE]: joinPath(inside, name), label }));
  });
  if (found.length === 0) {
    throw new InputError("P0700", `\`${folder}\` has no pictures`, [
      `a folder of .png or .jpg files for each class is wanted, or a \`${METADATA}\` with a \`${FILE}\` in each line`,
    ]);
  }
  // an order that has nothing to do with classes, so that both parts of a split have all of them
  const place = ({ [FILE]: path }: (typeof found)[number]) => threefry(...keyOf(0, "images", path.slice(folder.length)), 0, 0)[0] >>> 0;
  const placed = found
    .map((values) => ({ values, at: place(values) }))
    .sort((a, b) => a.at - b.at || (a.values[FILE] < b.values[FILE] ? -1 : 1));
  return placed.map(({ values }, i) => ({ line: i + 1, values }));
}

/** Numbers of pictures that are kept after they were made: an epoch over a small folder reads its files once. */
const KEPT = 1 << 26;

/** Pictures are read when a batch asks for them. P0720: one that cannot be read. */
function pixelColumn(rows: readonly Row[], preprocessor: Preprocessor, { files, decodeImage }: Kitchen): Column {
  if (decodeImage === undefined) throw new Bug("nothing here reads pictures");
  const shape = [3, preprocessor.height, preprocessor.width];
  const most = Math.floor(KEPT / (3 * preprocessor.height * preprocessor.width));
  const kept = new Map<number, Float32Array>();
  return {
    rank: 3,
    pad: 0,
    shape: () => shape,
    row: (i) => {
      const known = kept.get(i);
      if (known !== undefined) return known;
      const path = String(rows[i].values[FILE]);
      const bytes = readBytes(files, path);
      let pixels: Float32Array;
      try {
        pixels = preprocessor.apply(decodeImage(bytes));
      } catch (error) {
        throw new InputError(
          "P0720",
          `\`${path}\` cannot be read as a picture: ${error instanceof Error ? error.message : String(error)}`,
          [`${baseName(path)} must be a PNG or JPEG file`],
        );
      }
      if (kept.size < most) kept.set(i, pixels);
      return pixels;
    },
  };
}
