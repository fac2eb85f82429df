import type { Command } from "commander";
import { format } from "../../compiler/format.ts";
import { readText, writeFile } from "../../formats/files.ts";
import { common, Session } from "../context.ts";
import { line, Rejected, reportProblems, Usage } from "../errors.ts";
import type { Io } from "../io.ts";

interface FmtOptions {
  readonly json?: boolean;
  readonly check?: boolean;
}

/** `fmt`: lays files out as everybody's are. */
export function fmt(program: Command, io: Io): void {
  common(program.command("fmt").argument("<files...>", ".peft files"), { compiles: false, runs: false })
    .description("lay .peft files out in the one way, in place")
    .option("--check", "change nothing; exit with 1 if a file would change")
    .addHelpText("after", "\nExample:\n  peftc fmt specs/*.peft --check\n")
    .action((files: string[], options: FmtOptions) => {
      const session = new Session(io, options);
      let different = false;
      for (const file of files) {
        if (!file.endsWith(".peft")) throw new Usage(`${file} is not a .peft file`);
        const before = readText(session.workspace.files, file);
        const { text, problems } = format(before, file);
        reportProblems(problems, io, session.json, session.source);
        if (problems.some((p) => p.severity === "error")) throw new Rejected("a file has errors");
        const changed = text !== before;
        different ||= changed;
        if (changed && !options.check) writeFile(session.workspace.files, file, new TextEncoder().encode(text));
        if (session.json) io.out(line({ event: "fmt", file, changed }));
        else if (changed) io.out(`${options.check ? "would change" : "changed"} ${file}\n`);
      }
      if (options.check && different) throw new Rejected("files would change");
    });
}
