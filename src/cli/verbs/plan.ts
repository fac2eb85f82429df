import type { Command } from "commander";
import type { Project } from "../../compiler/project.ts";
import type { ArenaName } from "../../runtime/program.ts";
import { arenaMeaning, memoryOf, showBytes } from "../../train/budget.ts";
import { stagesOf } from "../../train/run.ts";
import { type PreparedTrain, prepareTrain } from "../../train/train.ts";
import { elements } from "../../train/values.ts";
import { type CommonOptions, common, Session } from "../context.ts";
import { line } from "../errors.ts";
import type { Io } from "../io.ts";
import { grouped, showFlops, table } from "../table.ts";

/** `plan`: what a run would take, from the compiled program; nothing is trained. */
export function plan(program: Command, io: Io): void {
  common(program.command("plan").argument("<file>", "a .peft file"))
    .description("say what training takes: parameters, optimizer state, activations, peak bytes, operations a step")
    .addHelpText("after", "\nExample:\n  peftc plan specs/examples/quickstart.peft --set train.batch=16\n")
    .action(async (file: string, options: CommonOptions) => {
      const session = new Session(io, options);
      const project = session.open(file);
      const host = session.host(project, await session.engine());
      for (const stage of stagesOf(project)) {
        if (stage.verb !== "train") continue;
        const facts = factsOf(project, await prepareTrain(stage, host));
        if (session.json) io.out(line({ event: "plan", file, ...facts }));
        else io.out(text(facts));
      }
    });
}

interface PlanFacts {
  readonly stage: string;
  readonly parameters: { readonly total: number; readonly trained: number; readonly frozen: number };
  readonly optimizer_state_bytes: number;
  readonly activation_bytes: number;
  readonly peak_bytes: number;
  readonly budget_bytes: number;
  readonly flops_per_step: number;
  readonly steps: number;
  readonly arenas: Readonly<Record<ArenaName, number>>;
  readonly notes: readonly string[];
}

function factsOf(project: Project, ready: PreparedTrain): PlanFacts {
  const { program, notes, flops } = ready.built;
  const memory = memoryOf(program);
  const count = (names: readonly string[]) => names.reduce((sum, name) => sum + elements(project.params.get(name)?.shape ?? [0]), 0);
  const total = count(Object.keys(program.params));
  const trained = count(ready.stage.trained);
  const states = Object.entries(program.states).filter(([name]) => project.states.get(name)?.owner === ready.stage.name);
  return {
    stage: ready.stage.name,
    parameters: { total, trained, frozen: total - trained },
    optimizer_state_bytes: states.reduce((sum, [, index]) => sum + program.tensors[index].bytes, 0),
    activation_bytes: memory.arenas.activations,
    peak_bytes: memory.total,
    budget_bytes: ready.budget,
    flops_per_step: (flops.step ?? 0) * ready.stage.accumulate,
    steps: ready.total,
    arenas: memory.arenas,
    notes,
  };
}

function text(f: PlanFacts): string {
  const share = f.parameters.total === 0 ? 0 : (100 * f.parameters.trained) / f.parameters.total;
  const rows: (string | number)[][] = [
    ["parameters", grouped(f.parameters.total)],
    ["  trained", `${grouped(f.parameters.trained)} (${share.toPrecision(3)} %)`],
    ["  frozen", grouped(f.parameters.frozen)],
    ["optimizer state", showBytes(f.optimizer_state_bytes)],
    ["activations", showBytes(f.activation_bytes)],
    ["peak", `${showBytes(f.peak_bytes)} of ${showBytes(f.budget_bytes)}`],
    ["operations a step", showFlops(f.flops_per_step)],
    ["updates", grouped(f.steps)],
  ];
  const arenas = Object.entries(f.arenas).filter(([, bytes]) => bytes > 0);
  const memory = arenas.map(([name, bytes]) => [arenaMeaning(name as ArenaName), showBytes(bytes), grouped(bytes)]);
  return `${f.stage}\n${table(rows)}memory\n${table(memory)}${f.notes.map((note) => `note: ${note}\n`).join("")}`;
}
