/** The command line as a function of its arguments: gives the exit code, and touches the outside through `Io` only. */
import { Command, CommanderError } from "commander";
import { packageVersion } from "../node/package.ts";
import { openWorkspace } from "../node/workspace.ts";
import { report } from "./errors.ts";
import { fetchNamed } from "./fetch.ts";
import { EXIT, type Io } from "./io.ts";
import { build } from "./verbs/build.ts";
import { check } from "./verbs/check.ts";
import { convert } from "./verbs/convert.ts";
import { data } from "./verbs/data.ts";
import { evaluate } from "./verbs/eval.ts";
import { fmt } from "./verbs/fmt.ts";
import { generate } from "./verbs/generate.ts";
import { importFolder } from "./verbs/import.ts";
import { init } from "./verbs/init.ts";
import { inspect } from "./verbs/inspect.ts";
import { merge } from "./verbs/merge.ts";
import { plan } from "./verbs/plan.ts";
import { train } from "./verbs/train.ts";

export async function run(argv: readonly string[], io: Io): Promise<number> {
  const program = new Command("peftc")
    .description("a compiler for parameter-efficient fine-tuning")
    .version(packageVersion())
    .showHelpAfterError("(add --help for what there is)")
    .addHelpText(
      "after",
      "\nExample:\n  peftc train specs/examples/quickstart.peft\n\nExit codes: 0 done, 1 a mistake in the file or its data, 2 usage, 3 the device, 70 a bug, 130 interrupted after saving\n",
    );
  for (const verb of [check, data, plan, build, train, evaluate, generate, init, importFolder, inspect, convert, merge, fmt])
    verb(program, io);
  program.hook("preAction", (_, command) => fetchNamed(command, io));
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text) });
  }
  try {
    await program.parseAsync(argv, { from: "user" });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const source = (file: string) => openWorkspace(io.cwd).sources.readSource(file);
    return report(error, io, argv.includes("--json"), source);
  }
}
