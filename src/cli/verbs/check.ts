import type { Command } from "commander";
import type { AttachmentReport, ModelReport, Project, Stage } from "../../compiler/project.ts";
import { placeOf } from "../../compiler/report/place.ts";
import { backwards } from "../../train/stages/backwards.ts";
import { stagesOf } from "../../train/stages/stages.ts";
import { type CommonOptions, common, Session } from "../context.ts";
import { line } from "../errors.ts";
import type { Io } from "../io.ts";
import { attachmentSize, modelSize, type Size, sizeOf } from "../sizes.ts";
import { grouped, table } from "../table.ts";

/** `check`: what every selector hit, shapes, counts; nothing is computed. */
export function check(program: Command, io: Io): void {
  common(program.command("check").argument("<file>", "a .peft file"), { runs: false })
    .description("check a file: what every selector hit, shapes, counts, unknown fields, left-over tensors")
    .addHelpText("after", "\nExample:\n  peftc check specs/examples/quickstart.peft\n")
    .action((file: string, options: CommonOptions) => {
      const session = new Session(io, options);
      const project = session.open(file);
      const verdicts: Verdicts = (stage) => (stage.verb === "train" ? backwards(stage, (span) => placeOf(span, session.source)) : []);
      if (session.json) io.out(line({ event: "check", file, ...facts(project, verdicts) }));
      else io.out(text(project, verdicts));
    });
}

/** What is said of a stage's loops that `reverse` would run backwards. */
type Verdicts = (stage: Stage) => string[];

/** The documented shape of `check --json`. */
function facts(project: Project, verdicts: Verdicts): Record<string, unknown> {
  return {
    models: project.models.map((m) => ({
      name: m.name,
      module: m.module,
      folder: m.folder ?? null,
      ...modelSize(project, m),
      unknown_fields: m.unknownFields,
      left_over: m.leftOver,
    })),
    attachments: project.attachments.map((a) => ({
      name: a.name,
      method: a.method,
      declared_in: a.declaredIn,
      options: a.options,
      selector: a.selector,
      ...attachmentSize(project, a),
      sites: a.sites.map((site) => ({
        path: site.path,
        role: site.role ?? null,
        parameters: Object.fromEntries(Object.entries(site.params).map(([path, name]) => [path, project.params.get(name)?.shape ?? null])),
      })),
      shared: Object.fromEntries(Object.entries(a.shared).map(([path, name]) => [path, project.params.get(name)?.shape ?? null])),
    })),
    stages: stagesOf(project).map((stage) => ({
      name: stage.name,
      verb: stage.verb,
      ...(stage.verb === "train"
        ? { trained: sizeOf(project, stage.trained), columns: stage.step.map(columnsOf), backwards: verdicts(stage) }
        : {}),
    })),
  };
}

const columnsOf = (entry: { columns: readonly { name: string; dtype: string; shape: readonly unknown[] }[] }) =>
  Object.fromEntries(entry.columns.map((c) => [c.name, `${c.dtype}[${c.shape.map(String).join(", ")}]`]));

function text(project: Project, verdicts: Verdicts): string {
  const parts = [
    ...project.models.map((m) => modelText(project, m)),
    ...project.attachments.map((a) => attachmentText(project, a)),
    ...stagesOf(project).map((s) => stageText(project, s, verdicts(s))),
  ];
  return `${parts.join("\n")}\n${project.file} is sound\n`;
}

function modelText(project: Project, m: ModelReport): string {
  const count = modelSize(project, m).parameters;
  const lines = [
    `model ${m.name}: ${m.module}, ${grouped(count)} parameters${m.folder === undefined ? ", fresh" : `, from ${m.folder}`}\n`,
  ];
  if (m.unknownFields.length > 0) lines.push(`  fields of config.json that it does not use: ${m.unknownFields.join(", ")}\n`);
  if (m.leftOver.length > 0) lines.push(`  tensors that nothing takes: ${m.leftOver.join(", ")}\n`);
  return lines.join("");
}

const learning = ({ parameters, frozen }: Size): string =>
  `${grouped(parameters)} parameters${frozen > 0 ? `, ${grouped(frozen)} more that never learn` : ""}`;

function attachmentText(project: Project, a: AttachmentReport): string {
  const options = Object.entries(a.options).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  const head = `attach ${a.name} = ${a.method}(${options.join(", ")}) to ${a.selector}\n`;
  const shape = (name: string) => `[${(project.params.get(name)?.shape ?? []).join(", ")}]`;
  const rows = a.sites.map((site) => [
    site.path,
    site.role ?? "",
    Object.entries(site.params)
      .map(([path, name]) => `${path} ${shape(name)}`)
      .join(", "),
  ]);
  const shared = Object.entries(a.shared).map(([path, name]) => ["shared", "", `${path} ${shape(name)}`]);
  return `${head}  ${a.sites.length} ${a.sites.length === 1 ? "site" : "sites"}, ${learning(attachmentSize(project, a))}\n${table([...rows, ...shared], "    ")}`;
}

function stageText(project: Project, stage: Stage, verdicts: readonly string[]): string {
  const head = `${stage.verb}${stage.name === stage.verb ? "" : ` ${stage.name}`}`;
  if (stage.verb !== "train") return `${head}\n`;
  const columns = stage.step.map((entry) =>
    Object.entries(columnsOf(entry))
      .map(([name, type]) => `${name}: ${type}`)
      .join(", "),
  );
  return `${head}: ${grouped(sizeOf(project, stage.trained))} parameters trained in ${stage.trained.length} tensors\n${[...columns.map((c) => `columns ${c}`), ...verdicts].map((l) => `  ${l}\n`).join("")}`;
}
