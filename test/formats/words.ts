/** A tokenizer of whole words for tests of tables, and tables made with it. */
import { makeTable, type TableContext } from "../../src/formats/data/make.ts";
import type { Table } from "../../src/formats/data/table.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import type { TableSpec } from "../../src/ground/table.ts";

const SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"];
const TEXT =
  "user assistant tool the cat cats sat on mat a dog . , yes no it was great deep learning learn model models [sep] Ada Bob Cleo of and better Make it ; graph neural nets ?";
export const WORDS = [...SPECIAL, ...new Set(TEXT.split(" "))];
export const id = (word: string): number => WORDS.indexOf(word);
export const ids = (text: string): number[] => text.split(" ").map(id);

/** Files of a model: `m` with this chat template and nothing around texts, `framed` with `[BOS]` in front and `[EOS]` behind. */
export function wordFiles(files: Readonly<Record<string, string | object>> = {}, template?: unknown): MemoryFiles {
  const json = (post: object | null) => ({
    added_tokens: SPECIAL.map((content, i) => ({ id: i, content, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: post,
    decoder: null,
    model: {
      type: "WordPiece",
      vocab: Object.fromEntries(WORDS.map((word, i) => [word, i])),
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
    },
  });
  const config = {
    eos_token: "[EOS]",
    bos_token: "[BOS]",
    pad_token: "[PAD]",
    unk_token: "[UNK]",
    ...(template !== undefined && { chat_template: template }),
  };
  const around = {
    type: "TemplateProcessing",
    single: ["[BOS]", "A", "[EOS]"].map((t) =>
      t === "A" ? { Sequence: { id: "A", type_id: 0 } } : { SpecialToken: { id: t, type_id: 0 } },
    ),
    pair: [],
    special_tokens: {},
  };
  const all = {
    "m/config.json": {},
    "m/tokenizer.json": json(null),
    "m/tokenizer_config.json": config,
    "framed/config.json": {},
    "framed/tokenizer.json": json(around),
    "framed/tokenizer_config.json": config,
    ...files,
  };
  return new MemoryFiles(
    Object.entries(all).map(([path, data]) => [path, typeof data === "string" ? data : JSON.stringify(data)] as const),
  );
}

export const lines = (rows: readonly object[]): string => rows.map((row) => JSON.stringify(row)).join("\n");

export const spec = (make: string, args: readonly unknown[], options: Readonly<Record<string, unknown>> = {}): TableSpec => ({
  make,
  args,
  options,
  part: "main",
});

export function made(files: MemoryFiles, what: TableSpec, more: Partial<TableContext> = {}): Table {
  return makeTable(what, { files, tokenizer: "m", sequence: undefined, ...more })!;
}

export function rows(table: Table | undefined, column: string): number[][] {
  return Array.from({ length: table!.rows }, (_, i) => Array.from(table!.columns.get(column)!.row(i)));
}
