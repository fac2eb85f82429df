/**
 * Trees of the standard library's files as the build wrote them beside the command line's bundle: reading them takes a tenth of parsing the texts.
 * The sources of this package, run as they are, have none: theirs would be those of the last build.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Program } from "../compiler/ast.ts";
import { packageRoot } from "./package.ts";

/** Set by the bundler (scripts/bundle.mjs). */
declare const PEFTC_BUNDLED: boolean | undefined;

/** Places stand as `[start, end]` under this key: every node has one, and all are of one file. */
interface Stored {
  readonly sha256: string;
  readonly program: unknown;
}

/** What is kept of a text and its tree. */
export function storedTree(text: string, program: Program): string {
  const short = (key: string, value: unknown) => {
    const span = value as { readonly start: number; readonly end: number };
    return key === "span" && typeof value === "object" ? [span.start, span.end] : value;
  };
  return JSON.stringify({ sha256: digest(text), program } satisfies Stored, short);
}

/** The tree that `stored` holds of `text`, or nothing where it is another text's. */
export function restoredTree(stored: string, text: string, file: string): Program | undefined {
  const { sha256, program } = JSON.parse(stored) as Stored;
  if (sha256 !== digest(text)) return undefined;
  placed(program, file);
  return program as Program;
}

function placed(node: unknown, file: string): void {
  if (Array.isArray(node)) for (const item of node) placed(item, file);
  else if (typeof node === "object" && node !== null) {
    const fields = node as Record<string, unknown>;
    for (const key in fields) {
      const value = fields[key];
      if (key === "span") fields.span = { file, start: (value as number[])[0], end: (value as number[])[1] };
      else if (typeof value === "object") placed(value, file);
    }
  }
}

const digest = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Where the build puts the tree of `std/nn.peft`, below the package's folder. */
export const treeFile = (name: string): string => `dist/trees/${name}.json`;

export function libraryTree(name: string, text: string): Program | undefined {
  if (typeof PEFTC_BUNDLED === "undefined") return undefined;
  const file = path.join(packageRoot(), treeFile(path.normalize(name)));
  return fs.existsSync(file) ? restoredTree(fs.readFileSync(file, "utf8"), text, name) : undefined;
}
