/** `text`: one long text, a stream of tokens in rows of `sequence`; what does not fill a row is dropped. */
import { InputError } from "../../../ir/errors.ts";
import { readText } from "../../files.ts";
import type { TextTokenizer } from "../../tokenizer/tokenizer.ts";
import { tokenColumns } from "../chat.ts";
import { type Maker, partOf, pathOf } from "../spec.ts";

/** The last long text of each tokenizer: its parts are asked for one after the other. */
const lastStreams = new WeakMap<TextTokenizer, { readonly text: string; readonly ids: readonly number[] }>();

function streamOf(tokenizer: TextTokenizer, text: string): readonly number[] {
  const last = lastStreams.get(tokenizer);
  if (last?.text === text) return last.ids;
  const ids = tokenizer.encode(text);
  lastStreams.set(tokenizer, { text, ids });
  return ids;
}

export const text: Maker = {
  table(spec, kitchen) {
    const path = pathOf(spec);
    const { sequence } = kitchen;
    if (sequence === undefined)
      throw new InputError("P0703", `\`${path}\` is one long text, which needs \`sequence\`: how many tokens a row has`);
    const tokenizer = kitchen.words(`\`${path}\``);
    const stream = streamOf(tokenizer, readText(kitchen.files, path));
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
