/** The command line as a function of its arguments: gives the exit code, and touches the outside through `Io` only. */
import { Command, CommanderError } from "commander";
import { printable } from "../ir/printable.ts";
import { packageVersion } from "../node/package.ts";
import { EXIT } from "./exit.ts";
import type { Io } from "./io.ts";

type Verb = (program: Command, io: Io) => void;

/** In the order of `--help`. A verb is loaded when it is called, or when all are told of. */
const VERBS: Readonly<Record<string, () => Promise<Verb>>> = {
  check: async () => (await import("./verbs/check.ts")).check,
  data: async () => (await import("./verbs/data.ts")).data,
  plan: async () => (await import("./verbs/plan.ts")).plan,
  build: async () => (await import("./verbs/build.ts")).build,
  train: async () => (await import("./verbs/train.ts")).train,
  eval: async () => (await import("./verbs/eval.ts")).evaluate,
  generate: async () => (await import("./verbs/generate.ts")).generate,
  init: async () => (await import("./verbs/init.ts")).init,
  import: async () => (await import("./verbs/import.ts")).importFolder,
  inspect: async () => (await import("./verbs/inspect.ts")).inspect,
  convert: async () => (await import("./verbs/convert.ts")).convert,
  merge: async () => (await import("./verbs/merge.ts")).merge,
  explain: async () => (await import("./verbs/explain.ts")).explain,
  fmt: async () => (await import("./verbs/fmt.ts")).fmt,
};

/** What the arguments may need: the verb they name, none for the version, else all. */
function wanted(argv: readonly string[]): readonly string[] {
  if (argv.length === 1 && ["--version", "-V"].includes(argv[0])) return [];
  const named = argv.find((arg) => !arg.startsWith("-"));
  return named !== undefined && Object.hasOwn(VERBS, named) ? [named] : Object.keys(VERBS);
}

export async function run(argv: readonly string[], outside: Io): Promise<number> {
  // names and texts of files are in what verbs print
  const io: Io = { ...outside, out: (text) => outside.out(printable(text, "\n\t")), asIs: outside.asIs ?? outside.out };
  const program = new Command("peftc")
    .description("a compiler for parameter-efficient fine-tuning")
    .version(packageVersion())
    .showHelpAfterError("(add --help for what there is)")
    .addHelpText(
      "after",
      "\nExample:\n  peftc train specs/examples/quickstart.peft\n\nExit codes: 0 done, 1 a mistake in the file or its data, 2 usage, 3 the device, 70 a bug, 130 interrupted after saving\n",
    );
  for (const name of wanted(argv)) (await VERBS[name]())(program, io);
  program.hook("preAction", async (_, command) => (await import("./fetch.ts")).fetchNamed(command, io));
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text) });
  }
  try {
    await program.parseAsync(argv, { from: "user" });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const [{ report }, { openWorkspace }] = await Promise.all([import("./errors.ts"), import("../node/workspace.ts")]);
    const source = (file: string) => openWorkspace(io.cwd).sources.readSource(file);
    return report(error, io, argv.includes("--json"), source);
  }
}
