/** Runs the command line inside this process, in a folder of its own. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { run } from "../../src/cli/app.ts";
import type { Io } from "../../src/cli/io.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { writeCorpus, writeTinyModel } from "./tiny-model.ts";

export const SPEC = `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA }            from "std/methods/lora"
import { causal_lm }       from "std/objectives"
import { adamw }           from "std/training"

model gpt2 = GPT2LMHeadModel from "models/tiny"
attach lora = LoRA(rank: 4, alpha: 8, dropout: 0.1) to gpt2.transformer.h[*].attn.c_attn

train {
  objective = causal_lm(gpt2)
  data      = text("corpus.txt", split: 0.9)
  sequence  = 16
  batch     = 4
  optimizer = adamw(lr: 1e-2)
  steps     = 6
  evaluate  = { metrics: ["perplexity"] }
  seed      = 7
}

generate { model = gpt2  prompts = ["the "]  max_tokens = 6 }
`;

export interface Place {
  readonly folder: string;
  readonly files: NodeFiles;
  /** Writes a file of the folder. */
  put(name: string, text: string): void;
  /** The text of one. */
  get(name: string): string;
  bytes(name: string): Uint8Array;
  has(name: string): boolean;
}

/** A folder with a checkpoint of one layer, a corpus, and `main.peft`. */
export function place(spec = SPEC): Place {
  const folder = mkdtempSync(path.join(tmpdir(), "peftc-"));
  const files = new NodeFiles(folder);
  writeTinyModel(files, "models/tiny", 1);
  writeCorpus(files, "corpus.txt");
  const put = (name: string, text: string) => {
    const draft = files.draft(name);
    draft.write(new TextEncoder().encode(text));
    draft.commit();
  };
  put("main.peft", spec);
  const bytes = (name: string) => files.read(name, 0, files.stat(name)!.size);
  return { folder, files, put, bytes, get: (name) => new TextDecoder().decode(bytes(name)), has: (name) => files.stat(name) !== undefined };
}

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** Lines of `out` as JSON. */
  events(): Record<string, unknown>[];
}

/** `interruptAfter`: asks to stop when so many lines were printed. */
export async function peftc(
  at: Place,
  argv: readonly string[],
  { interruptAfter }: { interruptAfter?: number | undefined } = {},
): Promise<Outcome> {
  let out = "";
  let err = "";
  let printed = 0;
  let stop: (() => void) | undefined;
  const io: Io = {
    out: (text) => {
      out += text;
      if (++printed === interruptAfter) stop?.();
    },
    err: (text) => {
      err += text;
    },
    terminal: false,
    color: false,
    columns: 120,
    cwd: at.folder,
    onInterrupt: (ask) => {
      stop = ask;
      return () => {
        stop = undefined;
      };
    },
    now: () => performance.now() / 1000,
  };
  const code = await run(argv, io);
  return {
    code,
    out,
    err,
    events: () =>
      out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}
