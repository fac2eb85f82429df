/** Every program of the repository checks: the library's files by themselves, the papers' against models that have what they ask for. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { compile } from "../../src/compiler/compile.ts";
import type { Host } from "../../src/compiler/project.ts";

const ROOT = path.resolve(import.meta.dirname, "../../specs");
const programs = (folder: string): string[] =>
  readdirSync(folder).flatMap((name) => {
    const file = path.join(folder, name);
    return statSync(file).isDirectory() ? programs(file) : name.endsWith(".peft") ? [file] : [];
  });

const bert = {
  vocab_size: 400,
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  intermediate_size: 64,
  max_position_embeddings: 160,
};
const roberta = { ...bert, type_vocab_size: 1, pad_token_id: 1 };
/** Configurations of the small models that the papers' programs name. */
const configs: Readonly<Record<string, Record<string, unknown>>> = {
  "tiny-bert": bert,
  "tiny-roberta": roberta,
  "tiny-roberta-6": { ...roberta, num_hidden_layers: 6 },
  "tiny-roberta-mlm": roberta,
  "tiny-xlmr-mlm": roberta,
  "tiny-t5": { vocab_size: 400, d_model: 32, d_kv: 8, d_ff: 64, num_layers: 2, num_heads: 4, decoder_start_token_id: 0 },
};

/** Models whose weights are all there: what is checked is the program. */
const host: Host = {
  readSource(file) {
    const at = file.startsWith("std/") ? path.join(ROOT, file) : file;
    if (file.endsWith(".txt")) return "a few words of a language\n".repeat(20);
    return file.endsWith(".peft") && statSync(at, { throwIfNoEntry: false }) ? readFileSync(at, "utf8") : undefined;
  },
  readConfig: (folder) => configs[path.basename(folder)],
  readTensors: () => new Map(),
  matchTensors: (params) => ({ found: new Map(params.map((p) => [p.path, p.path])), missing: [], wrongShape: [], leftOver: [] }),
  readTokenizer: () => ({
    size: 400,
    ids: { pad: 0, mask: 4, eos: 2, bos: 1, cls: 1, sep: 2, unk: 3 },
    reduced(kept) {
      return { ...this, size: kept.length };
    },
    encode: (text) =>
      text.trim() === ""
        ? []
        : text
            .trim()
            .split(/\s+/)
            .map((word) => 5 + ([...word].reduce((n, c) => n + c.charCodeAt(0), 0) % 300)),
  }),
  readAdapter: () => undefined,
};

const seen = (file: string) =>
  compile(file, host).problems.map(
    (p) => `${p.code} ${p.message}${p.span ? ` at ${path.basename(path.dirname(p.span.file))}:${p.span.start}` : ""}`,
  );

describe("the library", () => {
  test.each(programs(path.join(ROOT, "std")).map((file) => [path.relative(ROOT, file), file]))("%s", (_name, file) => {
    expect(seen(file)).toEqual([]);
  });
});

describe("the papers", () => {
  test.each(programs(path.join(ROOT, "papers")).map((file) => [path.relative(ROOT, file), file]))("%s", (_name, file) => {
    expect(seen(file)).toEqual([]);
  });
});
