import type { Command } from "commander";
import { programFor } from "../../exchange/import.ts";
import { writeFile } from "../../formats/files.ts";
import { InputError } from "../../ir/errors.ts";
import { common, Session } from "../context.ts";
import { line } from "../errors.ts";
import type { Io } from "../io.ts";

interface ImportCommand {
  readonly json?: boolean;
  readonly base?: string;
  readonly output?: string;
  readonly force?: boolean;
}

/** `import`: a program to start from, for a folder of Hugging Face's. */
export function importFolder(program: Command, io: Io): void {
  common(program.command("import").argument("<folder>", "a model's folder, or an adapter's"), { compiles: false, runs: false })
    .description("write a .peft program for a Hugging Face model, or for an adapter and its base")
    .option("--base <dir>", "the adapter's base model (default: where the adapter says)")
    .option("--output <file>", "the program (default: print it)")
    .option("--force", "write over a file that is there")
    .addHelpText("after", "\nExample:\n  peftc import my-adapter --base models/llama --output tune.peft && peftc check tune.peft\n")
    .action((folder: string, options: ImportCommand) => {
      const session = new Session(io, options, true);
      const { files } = session.workspace;
      const output = options.output;
      if (output !== undefined && files.stat(output) !== undefined && !options.force)
        throw new InputError("P0825", `\`${output}\` is there already`, ["--force writes over"]);
      const { text, notes } = programFor(session.workspace, folder, options);
      if (output === undefined && !session.json) io.out(text);
      if (output !== undefined) writeFile(files, output, new TextEncoder().encode(text));
      if (session.json) io.out(line({ event: "import", folder, output: output ?? null, text, notes }));
      else for (const note of notes) io.err(`note: ${note}\n`);
      if (output !== undefined && !session.json) io.out(`wrote ${output}\nnext: peftc check ${output}\n`);
    });
}
