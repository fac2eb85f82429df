import type { Command } from "commander";
import { passesTo } from "../../backends/lowering.ts";
import { guaranteed } from "../../ground/limits.ts";
import { InputError } from "../../ir/errors.ts";
import { packageVersion } from "../../node/package.ts";
import { backendEngine, type Hooks } from "../../train/engine/backend.ts";
import { requireBudget } from "../../train/engine/budget.ts";
import type { BuildOptions, EntryPoint } from "../../train/engine/engine.ts";
import { printPasses } from "../../train/engine/look.ts";
import { writePackage } from "../../train/engine/package.ts";
import { referenceEngine } from "../../train/engine/reference.ts";
import { generationPoints } from "../../train/stages/generate.ts";
import { stagesOf } from "../../train/stages/stages.ts";
import { layTrain } from "../../train/stages/train.ts";
import { zeros } from "../../train/values.ts";
import { type CommonOptions, common, Session, wholeNumber } from "../context.ts";
import { line, Usage } from "../errors.ts";
import type { Io } from "../io.ts";

interface BuildCommand extends CommonOptions {
  readonly output?: string;
  readonly prompt: string;
  readonly print?: string;
  readonly stopAfter?: string;
  readonly target?: string;
}

/** Threads that a built program has scratch for. */
const WORKERS = 8;

/** `build`: kernels and plan as a folder that runs without the compiler. */
export function build(program: Command, io: Io): void {
  common(program.command("build").argument("<file>", "a .peft file"), { runs: false })
    .description("write a folder that runs a training step and inference with peftc/runtime alone")
    .option("-o, --output <dir>", "the folder")
    .option("--target <name>", "torch: a folder that PyTorch trains without peftc; native: a library in C with its header")
    .option("--prompt <tokens>", "tokens that prompts may have", "64")
    .option("--print <pass>", "print the graph after a pass (* for every one), and write nothing")
    .option("--stop-after <pass>", "with --print: end there")
    .addHelpText(
      "after",
      `\nExample:\n  peftc build specs/examples/quickstart.peft -o built\n  peftc build specs/examples/quickstart.peft --print products\n\nPasses: ${namesTo("kernels").join(", ")}\nWith --target torch: ${namesTo("torch").join(", ")}\n`,
    )
    .action(async (file: string, options: BuildCommand) => {
      const session = new Session(io, options);
      if (options.target !== undefined && options.target !== "native") return forTorch(file, options, session, io);
      const hooks = looking(options, "kernels", session, io);
      const project = session.open(file);
      const driver = { device: "a built program", reason: "", memory: Number.POSITIVE_INFINITY, depth: 1, open: never };
      const wasm = backendEngine({ ...driver, target: { target: "wasm", arithmetic: "plain", workers: WORKERS } }, hooks);
      const points: EntryPoint[] = [];
      let how: Pick<BuildOptions, "trained" | "reverse" | "place"> = { trained: [] };
      const host = session.host(project, wasm);
      const stages = stagesOf(project);
      const stage = stages.filter((s) => s.verb === "train").at(-1);
      const starts = new Map<string, ReadonlyMap<string, number>>();
      if (stage?.verb === "train") {
        const laid = await layTrain(stage, host);
        points.push(...laid.points);
        how = { trained: stage.trained, reverse: stage.reverse, place: host.place };
        for (const [name, sizes] of laid.states) starts.set(name, sizes);
      }
      const texts = stages.filter((s) => s.verb === "generate").at(-1);
      if (texts?.verb === "generate") {
        points.push(...generationPoints(texts, wholeNumber("--prompt", options.prompt), texts.maxTokens).points);
      }
      if (points.length === 0) throw new Usage(`${file} has no stage to build`, ["add `train { ... }` or `generate { ... }`"]);
      if (options.print !== undefined || options.stopAfter !== undefined) {
        await printPasses(points, how, hooks, (name) => session.json || io.out(`--- ${name}\n`));
        return;
      }
      if (options.output === undefined) throw new Usage("where to? give a folder with -o");
      if (session.workspace.files.stat(options.output)?.kind === "file") throw new InputError("P0685", `\`${options.output}\` is a file`);
      const memory = (stage?.verb === "train" ? stage.memory : undefined) ?? (texts?.verb === "generate" ? texts.memory : undefined);
      const firstState = (name: string) => {
        const sizes = starts.get(name);
        // caches are empty at first
        return sizes === undefined ? undefined : host.values.state(name, sizes).values;
      };
      const { files } = session.workspace;
      if (options.target === "native") {
        const { writeNativePackage } = await import("../../node/native/package.ts");
        const param = (name: string) => host.values.param(name);
        const written = await writeNativePackage(files, options.output, {
          points,
          how: { ...how, memory },
          title: file,
          param,
          state: firstState,
        });
        if (session.json) io.out(line({ event: "build", folder: options.output, files: written }));
        else io.out(`wrote ${written.length} files to ${options.output}: libpeftc.so runs ${points.map((e) => e.name).join(", ")}\n`);
        return;
      }
      const [built, webgpu] = [
        await wasm.build(points, { ...how, memory }),
        await backendEngine({ ...driver, target: { target: "webgpu", limits: guaranteed } }).build(points, { ...how, memory }),
      ];
      if (memory !== undefined) for (const made of [built, webgpu]) await requireBudget(made, { bytes: memory, source: "`memory`" });
      const written = writePackage(files, options.output, {
        wasm: built,
        webgpu,
        title: file,
        version: packageVersion(),
        most: typeof how.reverse === "number" ? how.reverse : 0,
        param: (name) => host.values.param(name),
        state: (name) => firstState(name) ?? zeros(built.program.tensors[built.program.states[name]]).values,
      });
      if (session.json) io.out(line({ event: "build", folder: options.output, files: written }));
      else io.out(`wrote ${written.length} files to ${options.output}: index.mjs runs ${points.map((e) => e.name).join(", ")}\n`);
    });
}

const namesTo = (target: "kernels" | "torch"): string[] => [...new Set(passesTo(target).map((p) => p.name))];

/** Who looks at graphs between passes, where somebody asked to. */
function looking({ print, stopAfter }: BuildCommand, target: "kernels" | "torch", { json }: Session, io: Io): Hooks {
  const names = namesTo(target);
  for (const pass of [print, stopAfter])
    if (pass !== undefined && pass !== "*" && !names.includes(pass)) {
      const other = target === "torch" ? "kernels" : "torch";
      throw new Usage(
        namesTo(other).includes(pass)
          ? `graphs for ${target === "torch" ? "PyTorch" : "kernels"} do not go through the pass ${pass}`
          : `there is no pass ${pass}`,
        [`the passes are: ${names.join(", ")}`],
      );
    }
  if (print === undefined && stopAfter === undefined) return {};
  return {
    print: print ?? stopAfter,
    stopAfter,
    onPrint: (pass, text, of) =>
      io.out(json ? line({ event: "graph", pass, of, text }) : `--- after ${pass}${of === undefined ? "" : ` of ${of}`}\n${text}\n`),
  };
}

/** `--target torch`: the last stage that trains. */
async function forTorch(file: string, options: BuildCommand, session: Session, io: Io): Promise<void> {
  const { target, output, print, stopAfter } = options;
  if (target !== "torch")
    throw new Usage(`--target ${target}: there is no such target`, ["those that are asked for by name: torch, native"]);
  const hooks = looking(options, "torch", session, io);
  const looks = print !== undefined || stopAfter !== undefined;
  if (output === undefined && !looks) throw new Usage("where to? give a folder with -o");
  const project = session.open(file);
  const stage = stagesOf(project)
    .filter((s) => s.verb === "train")
    .at(-1);
  if (stage?.verb !== "train") throw new Usage(`${file} has no stage that trains`, ["add `train { ... }`"]);
  const { files } = session.workspace;
  const { printTorchPasses, writeTorchPackage } = await import("../../node/torch/package.ts");
  if (output === undefined || looks) return printTorchPasses(stage, session.host(project, referenceEngine()), hooks);
  if (files.stat(output)?.kind === "file") throw new InputError("P0685", `\`${output}\` is a file`);
  const written = await writeTorchPackage(files, output, stage, session.host(project, referenceEngine()), file);
  if (session.json) io.out(line({ event: "build", folder: output, files: written }));
  else io.out(`wrote ${written.length} files to ${output}: \`torchrun --nproc-per-node 2 ${output}/train.py\` trains on two processes\n`);
}

const never = (): never => {
  throw new InputError("P0685", "a built program is opened by its own index.mjs");
};
