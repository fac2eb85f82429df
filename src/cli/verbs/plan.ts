import type { Command } from "commander";
import type { Sites } from "../../backends/sites.ts";
import type { Project, TrainStage } from "../../compiler/project.ts";
import { writeFile } from "../../formats/files.ts";
import type { ArenaName } from "../../ground/program.ts";
import type { DataTable } from "../../train/data/columns.ts";
import { standIn } from "../../train/data/stand-in.ts";
import { arenaMeaning, memoryOf, showBytes } from "../../train/engine/budget.ts";
import { partedFront } from "../../train/engine/parts.ts";
import { referenceEngine } from "../../train/engine/reference.ts";
import type { TableRequest } from "../../train/host.ts";
import { stagesOf } from "../../train/stages/stages.ts";
import { layTrain, type PreparedTrain, planTrain } from "../../train/stages/train.ts";
import { requireFit } from "../../train/stages/train-run.ts";
import { elements } from "../../train/values.ts";
import { type CommonOptions, common, type Elsewhere, elsewhere, placeElsewhere, Session } from "../context.ts";
import { line } from "../errors.ts";
import { frontPicture, frontText } from "../front.ts";
import type { Io } from "../io.ts";
import { attachmentSize, modelSize, type Size, sizeOf } from "../sizes.ts";
import { grouped, showFlops, table } from "../table.ts";
import { acrossText, planAcross } from "./plan-across.ts";

/**
 * `plan`: how many parameters there are, and what a run would take, from the compiled program; nothing is trained. A model's folder may hold `config.json` alone: then data
 * are not looked at either, and rows are as long as the stage says.
 */
export function plan(program: Command, io: Io): void {
  elsewhere(common(program.command("plan").argument("<file>", "a .peft file")))
    .description("say what training takes: parameters, optimizer state, activations, peak bytes, operations a step")
    .option("--sizes", "count parameters only: no step is compiled")
    .option("--front [svg]", "the peak against work that is repeated, from the usual plan to the least memory; as a picture, too")
    .addHelpText("after", "\nExample:\n  peftc plan specs/examples/quickstart.peft --set train.batch=16\n")
    .action(async (file: string, options: CommonOptions & Elsewhere & { readonly sizes?: boolean; readonly front?: true | string }) => {
      const session = new Session(io, options, true);
      const project = session.open(file);
      const sizes = sizesOf(project);
      io.out(session.json ? line({ event: "sizes", file, ...sizes }) : sizesText(sizes));
      const stages = trainsOf(project);
      if (options.sizes || stages.length === 0) return;
      if (options.on !== undefined) {
        placeElsewhere(options);
        const weightless = sizes.models.some((m) => m.weightless);
        for (const stage of stages) {
          const { table } = session.host(project, referenceEngine());
          const looked = weightless ? async (request: TableRequest) => standInFor(stage, request) : table;
          const facts = await planAcross(stage, { table: looked }, options, session.memory);
          io.out(session.json ? line({ event: "plan_across", file, ...facts }) : acrossText(facts));
        }
        return;
      }
      const host = session.host(project, await session.engine(options));
      const weightless = sizes.models.some((m) => m.weightless);
      for (const stage of stages) {
        const looked = { ...host, table: async (request: TableRequest) => standInFor(stage, request) };
        const ready = await planTrain(stage, weightless ? looked : host);
        const facts = factsOf(project, ready);
        if (session.json) io.out(line({ event: "plan", file, ...facts }));
        else io.out(text(facts));
        if (options.front !== undefined) {
          const { trained, reverse } = stage;
          const points = await partedFront(
            ready,
            (other) => layTrain({ ...stage, ...other }, weightless ? looked : host),
            (laid) => host.engine.front?.(laid.points, { trained, reverse, planOnly: true }),
          );
          if (session.json) io.out(line({ event: "front", stage: stage.name, points }));
          else io.out(frontText(stage.name, points));
          if (typeof options.front === "string")
            writeFile(session.workspace.files, options.front, new TextEncoder().encode(frontPicture(points)));
        }
        await requireFit(ready);
      }
    });
}

function standInFor(stage: TrainStage, { spec }: TableRequest): DataTable | undefined {
  const number = stage.data.indexOf(spec);
  return number < 0 ? undefined : standIn(stage, number);
}

const trainsOf = (project: Project): TrainStage[] => stagesOf(project).filter((stage) => stage.verb === "train");

/** The documented shape of the event `sizes`. */
interface Sizes {
  readonly models: readonly (Size & { readonly name: string; readonly module: string; readonly weightless: boolean })[];
  readonly attachments: readonly (Size & { readonly name: string; readonly method: string; readonly sites: number })[];
  readonly stages: readonly { readonly name: string; readonly trained: number }[];
}

const sizesOf = (project: Project): Sizes => ({
  models: project.models.map((m) => ({
    name: m.name,
    module: m.module,
    ...modelSize(project, m),
    weightless: m.weightless === true,
  })),
  attachments: project.attachments.map((a) => ({
    name: a.name,
    method: a.method,
    sites: a.sites.length,
    ...attachmentSize(project, a),
  })),
  stages: trainsOf(project).map(({ name, trained }) => ({ name, trained: sizeOf(project, trained) })),
});

const sizesText = ({ models, attachments, stages }: Sizes): string =>
  table(
    [
      ...models.map((m) => ["model", m.name, m.parameters, m.weightless ? `${m.module}, its weights are not there` : m.module]),
      ...attachments.map((a) => [
        "attach",
        a.name,
        a.parameters,
        `${a.method}, ${a.sites} ${a.sites === 1 ? "site" : "sites"}${a.frozen > 0 ? `; ${grouped(a.frozen)} more never learn` : ""}`,
      ]),
      ...stages.map((s) => ["train", s.name, s.trained, "parameters trained"]),
    ],
    "",
  );

interface PlanFacts {
  readonly stage: string;
  readonly parameters: { readonly total: number; readonly trained: number; readonly frozen: number };
  readonly optimizer_state_bytes: number;
  readonly activation_bytes: number;
  readonly peak_bytes: number;
  readonly budget_bytes: number;
  readonly flops_per_step: number;
  /** How much longer a step takes by what it does twice, by the cost model; of the entry that repeats most. Parts of a batch count as well. */
  readonly recomputed: number;
  /** Rows at a time, where they are not all of a batch. */
  readonly rows?: number;
  /** Sites of low rank in the forward half of a step: how many go on with the sum of the frozen product beside them, and which do not. */
  readonly low_rank: Sites;
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
    flops_per_step:
      (flops.step ?? (flops.count ?? 0) + (flops.gradients ?? 0)) * ready.accumulate + (flops.update_0_rows ?? flops.update ?? 0),
    recomputed: Math.max(0, ...Object.values(ready.built.recomputed)),
    ...(ready.batch < ready.stage.batch ? { rows: ready.batch } : {}),
    low_rank: ready.built.sites?.step ?? { fused: 0, apart: [] },
    steps: ready.total,
    arenas: memory.arenas,
    notes,
  };
}

function lowRank({ fused, apart }: Sites): string[][] {
  const sites = fused + apart.length;
  return sites === 0 ? [] : [["low rank", `fused ${fused}/${sites} ${sites === 1 ? "site" : "sites"}`]];
}

/** Sites that are not fused, by why they are not. */
function apartText({ apart }: Sites): string {
  const reasons = new Map<string, string[]>();
  for (const { site, why } of apart) reasons.set(why, [...(reasons.get(why) ?? []), site]);
  return [...reasons].map(([why, sites]) => `not fused, as ${why}: ${sites.join(", ")}\n`).join("");
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
    f.rows === undefined
      ? ["recomputed", `${(100 * f.recomputed).toFixed(1)} % of the work`]
      : ["rows at a time", `${f.rows}: a step takes ${(100 * f.recomputed).toFixed(1)} % longer, by the cost model`],
    ...lowRank(f.low_rank),
    ["steps", grouped(f.steps)],
  ];
  const arenas = Object.entries(f.arenas).filter(([, bytes]) => bytes > 0);
  const memory = arenas.map(([name, bytes]) => [arenaMeaning(name as ArenaName), showBytes(bytes), grouped(bytes)]);
  const apart = apartText(f.low_rank);
  return `${f.stage}\n${table(rows)}${apart}memory\n${table(memory)}${f.notes.map((note) => `note: ${note}\n`).join("")}`;
}
