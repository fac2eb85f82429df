/** A tokenizer of single letters for tests of conversations: what is learnt of a row can be read as text. */
import { makeTable } from "../../src/formats/data/make.ts";
import type { Table } from "../../src/formats/data/table.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import type { TableSpec } from "../../src/ground/table.ts";

const SPECIAL = ["[UNK]", "<|im_start|>", "<|im_end|>"];
const LETTERS = ["\n", ...Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)), ..."éß漢字"];
const VOCAB = [...SPECIAL, ...LETTERS, ...LETTERS.map((letter) => `##${letter}`)];

export const CHATML =
  "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

export function letterFiles(files: Readonly<Record<string, string>>, template: string | undefined = CHATML): MemoryFiles {
  const tokenizer = {
    added_tokens: SPECIAL.map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: {
      type: "WordPiece",
      vocab: Object.fromEntries(VOCAB.map((piece, id) => [piece, id])),
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 10_000,
    },
  };
  const all = {
    "m/config.json": "{}",
    "m/tokenizer.json": JSON.stringify(tokenizer),
    "m/tokenizer_config.json": JSON.stringify({
      eos_token: "<|im_end|>",
      unk_token: "[UNK]",
      chat_template: template === "" ? undefined : template,
    }),
    ...files,
  };
  return new MemoryFiles(Object.entries(all));
}

const text = (ids: ArrayLike<number>): string => Array.from(ids, (id) => (VOCAB[id] ?? "").replace(/^##(?=[\s\S])/, "")).join("");

/** The texts of a table's rows, and what is learnt of each, `|` between stretches. */
export function texts(table: Table, column = "input_ids"): string[] {
  return Array.from({ length: table.rows }, (_, row) => text(table.columns.get(column)!.row(row)));
}
export function learnt(table: Table): string[] {
  return Array.from({ length: table.rows }, (_, row) => {
    const labels = Array.from(table.columns.get("labels")!.row(row));
    const pieces: number[][] = [];
    labels.forEach((label, i) => {
      if (label === -100) return;
      if (i === 0 || labels[i - 1] === -100) pieces.push([]);
      pieces.at(-1)!.push(label);
    });
    return pieces.map(text).join("|");
  });
}

export function table(
  rows: readonly object[] | string,
  more: { make?: string; options?: Readonly<Record<string, unknown>>; template?: string; sequence?: number; path?: string } = {},
): Table {
  const { make = "jsonl", options = {}, template, sequence, path = "d" } = more;
  const content = typeof rows === "string" ? rows : rows.map((row) => JSON.stringify(row)).join("\n");
  const spec: TableSpec = { make, args: [path], options, part: "main" };
  return makeTable(spec, { files: letterFiles({ [path]: content }, template), tokenizer: "m", sequence })!;
}
