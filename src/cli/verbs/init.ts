import type { Command } from "commander";
import { joinPath, writeFile } from "../../formats/files.ts";
import { InputError } from "../../ir/errors.ts";
import { common, Session } from "../context.ts";
import { line } from "../errors.ts";
import type { Io } from "../io.ts";

interface InitOptions {
  readonly json?: boolean;
  readonly model?: string;
  readonly force?: boolean;
}

/** `init`: a spec and a little data to start from. */
export function init(program: Command, io: Io): void {
  common(program.command("init").argument("[folder]", "where to write", "."), { compiles: false, runs: false })
    .description("write a spec and a tiny data file to start from")
    .option("--model <dir>", "folder of a GPT-2 kind of model, as transformers saves it", "model")
    .option("--force", "write over files that are there")
    .addHelpText("after", "\nExample:\n  peftc init first --model ~/models/gpt2 && peftc check first/main.peft\n")
    .action((folder: string, options: InitOptions) => {
      const session = new Session(io, options);
      const { files } = session.workspace;
      const model = options.model ?? "model";
      const written: [string, string][] = [
        [joinPath(folder, "main.peft"), SPEC.replace("MODEL", model)],
        [joinPath(folder, "data.jsonl"), ROWS.map((row) => `${JSON.stringify(row)}\n`).join("")],
      ];
      const there = written.map(([name]) => name).filter((name) => files.stat(name) !== undefined);
      if (there.length > 0 && !options.force) {
        throw new InputError("P0825", `${there.join(" and ")} ${there.length === 1 ? "is" : "are"} there already`, ["--force writes over"]);
      }
      for (const [name, text] of written) writeFile(files, name, new TextEncoder().encode(text));
      if (session.json) io.out(line({ event: "init", files: written.map(([name]) => name) }));
      else io.out(`wrote ${written.map(([name]) => name).join(", ")}\nnext: peftc check ${written[0][0]}\n`);
    });
}

const SPEC = `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA }            from "std/methods/lora"
import { causal_lm }       from "std/objectives"
import { adamw, cosine }   from "std/training"

model gpt2 = GPT2LMHeadModel from "MODEL"                   // a folder with config.json, *.safetensors, tokenizer.json
attach lora = LoRA(rank: 8, alpha: 16) to gpt2.transformer.h[*].attn.c_attn

train {
  objective = causal_lm(gpt2)
  data      = jsonl("data.jsonl", split: 0.8)               // one {"text": ...} a line; a fifth is held out
  batch     = 4
  optimizer = adamw(lr: 1e-3)
  schedule  = cosine(warmup: 0.1)
  steps     = 60
  evaluate  = { every: 20, metrics: ["perplexity"] }
}

generate { model = gpt2  prompts = ["The weather"]  max_tokens = 24  temperature = 0.7 }
`;

const ROWS = [
  "The weather today is bright, and the sea is calm.",
  "The weather tonight is cold, and the wind is strong.",
  "The weather tomorrow will be mild, with a little rain.",
  "The weather in the hills is clear, and the air is dry.",
  "The weather by the lake is grey, and the mist is low.",
  "The weather at noon was hot, and the streets were still.",
  "The weather this week is fair, with a light breeze.",
  "The weather up north is harsh, and the snow is deep.",
  "The weather on the coast is mild, and the waves are small.",
  "The weather last night was wild, with thunder and hail.",
].map((text) => ({ text }));
