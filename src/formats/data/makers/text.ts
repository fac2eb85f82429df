/**
 * `text`: one long text, a stream of tokens in rows of `sequence`; what does not fill a row is dropped. `separator`: what stands between documents, each of which then ends with the
 * token that ends a text; as a stream they follow each other in a row as language models are pretrained, with `packed: "documents"` they are kept apart, and none is parted unless it
 * alone is too long.
 */

import type { TableSpec } from "../../../ground/table.ts";
import { InputError } from "../../../ir/errors.ts";
import { readText } from "../../files.ts";
import type { TextTokenizer } from "../../tokenizer/tokenizer.ts";
import { tokenColumns } from "../chat.ts";
import { packRows } from "../pack.ts";
import { type Kitchen, type Maker, packingOf, partOf, pathOf, stringOption, wrong } from "../spec.ts";
import type { Table } from "../table.ts";

/** The last long text of each tokenizer: its parts are asked for one after the other. */
const lastStreams = new WeakMap<TextTokenizer, { readonly text: string; readonly ids: readonly number[] }>();

function streamOf(tokenizer: TextTokenizer, text: string): readonly number[] {
  const last = lastStreams.get(tokenizer);
  if (last?.text === text) return last.ids;
  const ids = tokenizer.encode(text);
  lastStreams.set(tokenizer, { text, ids });
  return ids;
}

/** Tokens of each document, with the end of a text behind. P0700: nothing but separators. */
function documentsOf(spec: TableSpec, separator: string, tokenizer: TextTokenizer, { files }: Kitchen): number[][] {
  const path = pathOf(spec);
  if (separator === "") throw wrong(spec, "`separator`", separator, "a text");
  const documents = readText(files, path)
    .split(separator)
    .filter((document) => document.trim() !== "");
  if (documents.length === 0) throw new InputError("P0700", `\`${path}\` has no documents`);
  const end = tokenizer.ids.eos ?? tokenizer.ids.sep;
  return documents.map((document) => [...tokenizer.encode(document), ...(end === undefined ? [] : [end])]);
}

/** Documents kept apart; one longer than a row is cut into pieces, which then are documents of their own. */
function packedText(
  spec: TableSpec,
  separator: string | undefined,
  sequence: number,
  tokenizer: TextTokenizer,
  kitchen: Kitchen,
): Table | undefined {
  if (separator === undefined)
    throw new InputError("P0703", '`packed: "documents"` of text needs `separator`: what stands between its documents', [
      'such as `separator: "\\n\\n"`, a blank line',
    ]);
  const documents = documentsOf(spec, separator, tokenizer, kitchen);
  const part = partOf(spec, documents.length);
  if (part === undefined) return undefined;
  const pieces = documents
    .slice(...part)
    .flatMap((ids) => Array.from({ length: Math.ceil(ids.length / sequence) }, (_, i) => ids.slice(i * sequence, (i + 1) * sequence)));
  return packRows({ name: `\`${pathOf(spec)}\``, rows: pieces.length, columns: tokenColumns(pieces, tokenizer) }, sequence, "documents");
}

export const text: Maker = {
  table(spec, kitchen) {
    const path = pathOf(spec);
    const { sequence } = kitchen;
    if (sequence === undefined)
      throw new InputError("P0703", `\`${path}\` is one long text, which needs \`sequence\`: how many tokens a row has`);
    const tokenizer = kitchen.words(`\`${path}\``);
    const separator = stringOption(spec, "separator");
    if (packingOf(spec) === "documents") return packedText(spec, separator, sequence, tokenizer, kitchen);
    const stream =
      separator === undefined
        ? streamOf(tokenizer, readText(kitchen.files, path))
        : documentsOf(spec, separator, tokenizer, kitchen).flat();
    const part = partOf(spec, Math.floor(stream.length / sequence));
    if (part === undefined) return undefined;
    if (part[1] === 0) {
      throw new InputError("P0700", `\`${path}\` has ${stream.length} tokens, which fill no row of ${sequence}`, [
        "give a smaller sequence, or more text",
      ]);
    }
    const rows = Array.from({ length: part[1] - part[0] }, (_, i) =>
      Int32Array.from(stream.slice((part[0] + i) * sequence, (part[0] + i + 1) * sequence)),
    );
    return { name: `\`${path}\``, rows: rows.length, columns: tokenColumns(rows, tokenizer) };
  },
};
