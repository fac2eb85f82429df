/** The papers' programs in small: random models of their architectures, a few rows of data, a few updates; all else is what stands in the file. */
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { compile } from "../../src/compiler/compile.ts";
import { writeFile } from "../../src/formats/files.ts";
import { readHeader } from "../../src/formats/safetensors/header.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { loadTokenizer, type TextTokenizer } from "../../src/formats/tokenizer/tokenizer.ts";
import { openEngine } from "../../src/node/engine.ts";
import { openWorkspace, type Workspace } from "../../src/node/workspace.ts";
import type { Engine } from "../../src/train/engine.ts";
import type { RunEvent } from "../../src/train/events.ts";
import { runFile } from "../../src/train/run.ts";
import { ValueStore } from "../../src/train/values.ts";

const SPECS = path.resolve(import.meta.dirname, "../../specs/papers");

const WORDS =
  "the a of and it was is film plot actor music road sea hill rain light door house people law vote money war peace good bad terrible great dagegen nichts question answer caption true false entailment yes no dies ist ein frage antwort premise hypothesis what who where";
const SPECIALS: Readonly<Record<string, readonly string[]>> = {
  bert: ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
  roberta: ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"],
};
const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;?!-'".split("");
const vocabulary = (kind: string): string[] => [
  ...SPECIALS[kind],
  ...new Set([...WORDS.split(" "), "dafur", ...LETTERS, ...LETTERS.slice(0, 36).map((c) => `##${c}`)]),
];

const bert = { hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 32, max_position_embeddings: 64 };
const roberta = { ...bert, type_vocab_size: 1, pad_token_id: 1 };
const t5 = { d_model: 16, d_kv: 8, d_ff: 32, num_layers: 2, num_heads: 2, decoder_start_token_id: 0 };

interface Model {
  /** Module of the library whose parameters the folder holds. */
  readonly module: string;
  readonly file: string;
  readonly words: string;
  readonly config: Readonly<Record<string, unknown>>;
}
const models: Readonly<Record<string, Model>> = {
  "tiny-bert": { module: "BertForSequenceClassification", file: "std/models/bert", words: "bert", config: bert },
  "tiny-roberta": { module: "RobertaForSequenceClassification", file: "std/models/bert", words: "roberta", config: roberta },
  "tiny-roberta-6": {
    module: "RobertaForSequenceClassification",
    file: "std/models/bert",
    words: "roberta",
    config: { ...roberta, num_hidden_layers: 6 },
  },
  "tiny-roberta-mlm": { module: "RobertaForMaskedLM", file: "std/models/bert", words: "roberta", config: roberta },
  "tiny-xlmr-mlm": { module: "RobertaForMaskedLM", file: "std/models/bert", words: "roberta", config: roberta },
  "tiny-t5": { module: "T5ForConditionalGeneration", file: "std/models/t5", words: "bert", config: t5 },
};

export class Paper {
  readonly folder = mkdtempSync(path.join(tmpdir(), "peftc-paper-"));
  private readonly workspace: Workspace = openWorkspace(this.folder);
  private readonly engine: Promise<Engine> = openEngine("wasm");

  put(name: string, text: string): void {
    writeFile(this.workspace.files, name, new TextEncoder().encode(text));
  }
  rows(name: string, rows: readonly object[]): void {
    this.put(`data/${name}.jsonl`, rows.map((row) => JSON.stringify(row)).join("\n"));
  }

  /** A folder with a configuration, a tokenizer and random weights. */
  model(name: string): void {
    const { module, file, words, config } = models[name];
    const vocab = vocabulary(words);
    this.tokenizer(name, words);
    const all = { vocab_size: vocab.length, ...config };
    this.put(`models/${name}/config.json`, JSON.stringify({ architectures: [module], ...all }));
    const fields = Object.entries(all).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
    const text = `import { ${module} } from "${file}"
model m = ${module}(${fields.join(", ")})
predict p { model = m  data = jsonl("none.jsonl")  columns = ["logits"] }`;
    const at = path.join(this.folder, `${name}.peft`);
    const project = compile(at, this.workspace.sources.with(at, text));
    if (project.problems.length > 0) throw new Error(project.problems.map((p) => `${p.code} ${p.message}`).join("\n"));
    const values = new ValueStore(project, () => undefined);
    writeSafetensors(
      this.workspace.files,
      `models/${name}/model.safetensors`,
      [...project.params.values()].map((p) => ({
        name: p.path,
        shape: p.shape,
        dtype: "F32" as const,
        values: () => values.param(p.name),
      })),
    );
  }
  /** `template`: of conversations. */
  tokenizer(name: string, words: string, template?: string): void {
    this.put(`models/${name}/vocab.txt`, `${vocabulary(words).join("\n")}\n`);
    this.put(
      `models/${name}/tokenizer_config.json`,
      JSON.stringify({ tokenizer_class: "BertTokenizer", do_lower_case: true, chat_template: template }),
    );
  }

  /** A paper's program as it is; `paper/name`: another of its programs than `run`. */
  text(paper: string): string {
    return readFileSync(path.join(SPECS, paper.includes("/") ? `${paper}.peft` : `${paper}/run.peft`), "utf8");
  }

  tokenizerOf(folder: string): TextTokenizer {
    return loadTokenizer(this.workspace.files, folder)!;
  }

  /** Shapes of what was saved in a folder and those in it, by name. */
  saved(folder: string): Map<string, readonly number[]> {
    const found = readdirSync(path.join(this.folder, folder), { recursive: true, encoding: "utf8" });
    const files = found.filter((name) => name.endsWith(".safetensors")).map((name) => path.join(folder, name));
    return new Map(files.flatMap((file) => [...readHeader(this.workspace.files, file).tensors].map(([name, { shape }]) => [name, shape])));
  }

  /**
   * Runs a paper's program. Updates, rows and lengths are made few, then `edits` are made to its text: a piece that is not there is a mistake. Gives
   * what was told on the way.
   */
  async run(paper: string, edits: readonly (readonly [string, string])[] = []): Promise<RunEvent[]> {
    let text = this.text(paper);
    text = text
      .replace(/\bepochs(\s*[=:]\s*)\d+/g, "epochs$11")
      .replace(/\bsteps(\s*=\s*)\d+/g, "steps$12")
      .replace(/\b(batch\s*[=:]\s*)\d+/g, "$14")
      .replace(/\b(sequence\s*[=:]\s*)\d+/g, "$124");
    for (const [from, to] of edits) {
      if (!text.includes(from)) throw new Error(`papers/${paper} has no \`${from}\``);
      text = text.replace(from, to);
    }
    const at = path.join(this.folder, "run.peft");
    const project = compile(at, this.workspace.sources.with(at, text));
    const problems = project.problems.map((p) => `${p.code} ${p.message}${p.span ? ` at ${text.slice(p.span.start, p.span.end)}` : ""}`);
    if (problems.length > 0) throw new Error(`${problems.join("\n")}\n${text}`);
    const events: RunEvent[] = [];
    const host = this.workspace.host(project, await this.engine, {
      listen: (event) => events.push(event),
      interrupted: () => false,
      now: () => performance.now() / 1000,
    });
    await runFile(host, { output: path.join(this.folder, "out"), force: true, resume: false });
    return events;
  }

  /** Losses of every update, by stage. */
  static losses(events: readonly RunEvent[]): Map<string, number[]> {
    const out = new Map<string, number[]>();
    for (const e of events) if (e.event === "step") out.set(e.stage, [...(out.get(e.stage) ?? []), e.loss]);
    return out;
  }
}
