/** Programs to start from, for folders of Hugging Face's. */
import type { ModelReport } from "../compiler/project.ts";
import { rolesIn } from "../formats/adapters/folder.ts";
import { isAdapter, readAdapter } from "../formats/adapters/read.ts";
import { adaptersOf, readSetup, SETUP_FILE } from "../formats/adapters/setup.ts";
import { problemType } from "../formats/config.ts";
import { type Files, type JsonRecord, joinPath, readRecord } from "../formats/files.ts";
import { Bug, InputError } from "../ir/errors.ts";
import type { Workspace } from "../node/workspace.ts";
import { type Placed, placedByConfig, placedParts } from "./adapter.ts";
import { type Base, baseOf, OwnPrograms, variable } from "./base.ts";
import { declares, methodOf, optionsText } from "./library.ts";
import { selectorsFor } from "./selectors.ts";
import { setupLines } from "./setup.ts";

export interface ImportOptions {
  /** Folder of the adapter's base; where the adapter says, unless told. */
  readonly base?: string | undefined;
  /** Where the program will lie: paths in it are from there. `imported.peft`, unless told. */
  readonly output?: string | undefined;
}

/**
 * A program that checks, for a model's folder or for an adapter's and its base. `notes`: what a reader should know of it. Throws `InputError` for
 * a folder that is none of these, `ProblemsError` for one whose program has errors.
 */
export function programFor(
  workspace: Workspace,
  folder: string,
  { base, output }: ImportOptions,
): { text: string; notes: readonly string[] } {
  if (workspace.files.stat(folder)?.kind !== "folder") throw new InputError("P0680", `\`${folder}\` does not exist, or is no folder`);
  return new Importer(workspace, output ?? "imported.peft").run(folder, base);
}

interface Attached {
  readonly parts: readonly Placed[];
  /** Modules of the base that are trained along. */
  readonly heads: readonly string[];
  /** Whether the folder holds trained values. */
  readonly weights: boolean;
}

class Importer {
  private readonly files: Files;
  private readonly programs: OwnPrograms;
  private readonly notes: string[] = [];

  constructor(
    private readonly workspace: Workspace,
    output: string,
  ) {
    this.files = workspace.files;
    this.programs = new OwnPrograms(workspace, output);
  }

  run(folder: string, given: string | undefined): { text: string; notes: readonly string[] } {
    if (this.files.stat(joinPath(folder, SETUP_FILE)) !== undefined) return { text: this.setup(folder, given), notes: this.notes };
    const adapter = isAdapter(this.files, folder) ? readRecord(this.files, joinPath(folder, "adapter_config.json")) : undefined;
    const said = adapter?.base_model_name_or_path ?? adapter?.model_name ?? adapter?.model;
    const model = adapter === undefined ? folder : (given ?? baseOf(this.files, folder, said));
    const base = this.programs.base(model, typeof adapter?.task_type === "string" ? adapter.task_type : undefined);
    if (base.fresh.length > 0) this.notes.push(`\`${model}\` has no ${base.fresh.map((h) => `\`${h}\``).join(", ")}: it starts afresh`);
    const attached = adapter === undefined ? undefined : this.attached(folder, adapter, base.report);
    return { text: this.program(folder, base, attached, adapter), notes: this.notes };
  }

  /** Adapters that act together, with their values. */
  private setup(folder: string, given: string | undefined): string {
    const setup = readSetup(this.files, folder);
    const [first] = adaptersOf(setup);
    const config = readRecord(this.files, joinPath(joinPath(folder, first), "adapter_config.json"));
    const base = this.programs.base(given ?? baseOf(this.files, joinPath(folder, first), config.model_name), undefined);
    const { lines, methods } = setupLines(setup, base.name, (name) => this.programs.relative(joinPath(folder, name)));
    if (methods.includes("InParallel"))
      this.notes.push("InParallel: the objective repeats the batch where it calls the model, once for each");
    const text = [
      `// Made by \`peftc import\` from ${folder}.`,
      base.imported,
      ...(methods.length > 0 ? [`import { ${methods.join(", ")} } from "std/methods/composition"`] : []),
      "",
      base.made,
      ...lines,
      "",
    ].join("\n");
    this.verify(text, []);
    return text;
  }

  private attached(folder: string, config: JsonRecord, model: ModelReport): Attached {
    const weights = this.files.list(folder).some((name) => /\.(safetensors|bin)$/.test(name));
    if (weights) {
      const adapter = readAdapter(this.files, folder, this.workspace.sources.mappings)!;
      for (const field of adapter.unknownFields)
        this.notes.push(`the field \`${field}\` of adapter_config.json is not known, and left out`);
      this.notes.push(...adapter.notes);
      const heads = [...new Set(Object.keys(adapter.heads).map((p) => p.slice(0, p.lastIndexOf("."))))];
      return { parts: placedParts(adapter, model), heads, weights };
    }
    const path = `\`${joinPath(folder, "adapter_config.json")}\``;
    const { parts, heads, idle } = placedByConfig(config, this.workspace.sources.mappings, model, path);
    for (const name of idle) this.notes.push(`\`${name}\` in target_modules meets nothing in ${model.module}`);
    return { parts, heads, weights };
  }

  private program(folder: string, base: Base, attached: Attached | undefined, adapter: JsonRecord | undefined): string {
    const { chosen, name, config, report } = base;
    const imports = new Map<string, Set<string>>();
    const need = (file: string, ...names: readonly string[]) => imports.set(file, new Set([...(imports.get(file) ?? []), ...names]));
    need(chosen.file, chosen.name);
    const parts = attached?.parts ?? [];
    const lines: string[] = [];
    const wanted: (readonly string[])[] = [];
    const names = new Set<string>();
    for (const part of parts) {
      const decl = methodOf(part.method, part.from);
      if (decl === undefined) throw new Bug(`no method ${part.method} in ${part.from}`);
      const { text, functions } = optionsText(decl, part.options);
      need(part.from, part.method);
      if (functions.length > 0) need("std/nn", ...functions);
      for (const selector of part.selectors)
        for (const role of rolesIn(selector)) need(declares("std/nn", role) ? "std/nn" : chosen.file, role);
      let own = variable(part.method.toLowerCase());
      while (names.has(own) || own === name) own += "_";
      names.add(own);
      const roles = new Map<string, string[]>();
      for (const m of part.modules) {
        const [module, role = ""] = m.split(":").map((x) => x.trim());
        roles.set(role, [...(roles.get(role) ?? []), module]);
        if (role !== "") need(declares("std/nn", role) ? "std/nn" : chosen.file, role);
      }
      const selectors = [
        ...[...roles].flatMap(([role, modules]) => this.selectors(name, modules, role, report)),
        ...part.selectors.map((s) => `${name}.${s}`),
      ];
      lines.push(`attach ${own} = ${part.method}(${text}) to ${selectors.length === 1 ? selectors[0] : `[${selectors.join(", ")}]`}`);
      wanted.push(part.modules);
    }
    if (attached === undefined) {
      // as people start: every product of the trunk
      const trunk = trunkOf(report);
      need("std/methods/lora", "LoRA");
      need("std/nn", "Linear");
      lines.push(`attach lora = LoRA(rank: 8, alpha: 16) to ${name}${trunk === "" ? "" : `.${trunk}`}.**: Linear`);
    } else if (attached.weights) {
      lines.push(
        "",
        `// with the values that were trained, instead of fresh ones (leave the attachments above out):`,
        `// attach trained = load("${this.programs.relative(folder)}") to ${name}`,
      );
    }
    const task = chosen.task;
    const objective = task?.problems[problemType(config) ?? ""] ?? task?.objective;
    const stage: string[] = [];
    if (objective !== undefined) {
      need("std/objectives", objective);
      need("std/training", "adamw", "linear");
      const params = attached === undefined || adapter === undefined ? [] : this.trained(name, attached, adapter, report, base.made);
      const selection = parts.length > 0 ? ["new", ...params] : params;
      stage.push(
        "train {",
        `  objective = ${objective}(${name})`,
        ...(task?.fields ?? []).map((field) => `  ${field}`),
        ...(params.length > 0 ? [`  params    = ${selection.length === 1 ? selection[0] : `[${selection.join(", ")}]`}`] : []),
        "  batch     = 8",
        "  optimizer = adamw(lr: 2e-4)",
        "  schedule  = linear(warmup: 0.05)",
        "  epochs    = 3",
        "}",
      );
    }
    const text = [
      `// Made by \`peftc import\` from ${folder}. The data are yours to name.`,
      ...[...imports].map(([file, names]) => `import { ${[...names].join(", ")} } from "${file}"`),
      "",
      base.made,
      ...lines,
      "",
      ...stage,
      "",
    ].join("\n");
    this.verify(text, wanted);
    return text;
  }

  /** Parts of the base that are trained along, beside what is fresh anyway: modules, and biases. */
  private trained(name: string, { heads, parts }: Attached, adapter: JsonRecord, report: ModelReport, model: string): string[] {
    const all = Object.keys(report.modules).filter((p) => p !== "");
    const modules = heads.filter((path) => report.modules[path] !== undefined && !model.includes(`**.${path.split(".")[0]}`));
    const selected = modules.length > 0 ? selectorsFor(name, modules, all) : [];
    if (adapter.bias === "all") return [...selected, `${name}.**.bias`];
    if (!String(adapter.bias).endsWith("_only")) return selected;
    const biased = parts.flatMap((p) => p.modules).filter((m) => report.shapes[`${m}.bias`] !== undefined);
    return [...selected, ...(biased.length > 0 ? selectorsFor(name, biased, all).map((s) => `${s}.bias`) : [])];
  }

  private selectors(name: string, modules: readonly string[], role: string, report: ModelReport): string[] {
    const all = Object.keys(report.modules).filter((p) => p !== "");
    if (role === "") return selectorsFor(name, modules, all);
    const filling = all.filter((p) => report.modules[p].includes(role));
    const wanted = new Set(modules);
    if (filling.length === wanted.size && filling.every((p) => wanted.has(p))) return [`${name}.**: ${role}`];
    return selectorsFor(name, modules, all).map((s) => `${s}: ${role}`);
  }

  /** The program checks, and attaches just what was asked for. */
  private verify(text: string, wanted: readonly (readonly string[])[]): void {
    const project = this.programs.sound(text);
    for (const [i, modules] of wanted.entries()) {
      if (modules.length === 0) continue;
      const plain = (paths: readonly string[]) =>
        paths
          .map((p) => p.replace(/\s*:.*$/, ""))
          .sort()
          .join();
      const sites = project.attachments[i].sites.map((site) => site.path);
      if (plain(sites) !== plain(modules)) throw new Bug(`the selector of ${project.attachments[i].name} picks ${sites.join(", ")}`);
    }
  }
}

/** The child of a model that holds most of its parameters: what is around it is a head. */
function trunkOf(report: ModelReport): string {
  const sizes = new Map<string, number>();
  for (const [name, shape] of Object.entries(report.shapes)) {
    const [first, ...rest] = name.split(".");
    if (rest.length > 0) sizes.set(first, (sizes.get(first) ?? 0) + shape.reduce((n, d) => n * d, 1));
  }
  return [...sizes].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "";
}
