/**
 * What an adapter was made on: `peftc.json` beside `adapter_config.json`, a file that no other tool looks at.
 *
 *     { "format": "peftc-adapter", "version": 1, "written_by": { "name": "peftc", "version": "0.1.0" },
 *       "base": { "transformer.h.0.attn.c_attn.weight": "<sha256>", ... }, "tokenizer": { "vocab.json": "<sha256>", ... },
 *       "classes": { "negative": 0, "positive": 1 } }
 *
 * `base` is by the path of a parameter in its model's class; `src/train/run/provenance.ts` says what is hashed and how. `tokenizer` has the plain SHA-256 of each of its files, as
 * `sha256sum` prints it. There are no times in it: equal runs write equal bytes.
 */
import { InputError } from "../../ir/errors.ts";
import { describe, type Files, isRecord, type Json, joinPath, readRecord, writeJson } from "../files.ts";

export const PROVENANCE_FILE = "peftc.json";
const FORMAT = "peftc-adapter";
const VERSION = 1;

type Hashes = Readonly<Record<string, string>>;

export interface Provenance {
  readonly writtenBy: { readonly name: string; readonly version: string };
  /** Path of a parameter of the base to the hash of its values. Empty where the base was not at hand. */
  readonly base: Hashes;
  /** Name of a file to the hash of its bytes. */
  readonly tokenizer: Hashes;
  /** Names of the classes that it was trained on, to their numbers; none: they had no names. */
  readonly classes?: ReadonlyMap<string, number> | undefined;
}

export function writeProvenance(files: Files, folder: string, { writtenBy, base, tokenizer, classes }: Provenance): void {
  writeJson(
    files,
    joinPath(folder, PROVENANCE_FILE),
    {
      format: FORMAT,
      version: VERSION,
      written_by: { ...writtenBy },
      base: { ...base },
      tokenizer: { ...tokenizer },
      ...(classes && classes.size > 0 && { classes: Object.fromEntries(classes) }),
    },
    true,
  );
}

/** `undefined`: the folder has none (another tool's adapter). P0697: it is malformed or of a later version; P0685 to P0687 as for any JSON. */
export function readProvenance(files: Files, folder: string): Provenance | undefined {
  const path = joinPath(folder, PROVENANCE_FILE);
  if (files.stat(path)?.kind !== "file") return undefined;
  const json = readRecord(files, path);
  const bad = (where: string, value: Json | undefined, wanted: string) =>
    new InputError("P0697", `\`${path}\`: ${where} is ${describe(value)} where ${wanted} is wanted`, [
      "without this file the adapter loads just as well, its base is not compared, and the numbers of its named classes are not known",
    ]);
  if (json.format !== FORMAT) throw bad("format", json.format, `"${FORMAT}"`);
  if (json.version !== VERSION) throw bad("version", json.version, `${VERSION}`);
  const texts = (value: Json | undefined, where: string): Record<string, string> => {
    if (!isRecord(value)) throw bad(where, value, "an object");
    for (const [key, text] of Object.entries(value)) if (typeof text !== "string") throw bad(`${where}.${key}`, text, "a string");
    return { ...value } as Record<string, string>;
  };
  const { name = "", version = "" } = texts(json.written_by, "written_by");
  const { classes } = json;
  if (classes !== undefined && !(isRecord(classes) && Object.values(classes).every((id) => Number.isInteger(id) && Number(id) >= 0)))
    throw bad("classes", classes, "an object from names to numbers");
  return {
    writtenBy: { name, version },
    base: texts(json.base, "base"),
    tokenizer: texts(json.tokenizer, "tokenizer"),
    ...(classes && { classes: new Map(Object.entries(classes as Record<string, number>)) }),
  };
}
