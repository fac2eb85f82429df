/** The model that a verb's own program is about: its class, read from a folder of Hugging Face's. */
import { compile } from "../compiler/compile.ts";
import type { ModelReport, Project } from "../compiler/project.ts";
import { ProblemsError } from "../compiler/report/unsound.ts";
import { readConfig } from "../formats/config.ts";
import { type Files, type JsonRecord, joinPath } from "../formats/files.ts";
import { InputError } from "../ir/errors.ts";
import { relativeTo, type Workspace } from "../node/workspace.ts";
import type { Sources } from "../train/compiler-host.ts";
import { classFor, type ModelClass } from "./library.ts";

export interface Base {
  readonly folder: string;
  readonly chosen: ModelClass;
  readonly config: JsonRecord;
  /** Its name in the program, and the lines that import and make it. */
  readonly name: string;
  readonly imported: string;
  readonly made: string;
  readonly report: ModelReport;
  /** First names of parameters that the folder lacks. */
  readonly fresh: readonly string[];
}

/** Where an adapter's base is: as the adapter says, from here, or from the adapter. P0694 where it is not there. */
export function baseOf(files: Files, folder: string, said: unknown): string {
  const places = typeof said === "string" ? [said, joinPath(folder, said)] : [];
  const found = places.find((place) => files.stat(joinPath(place, "config.json")) !== undefined);
  if (found !== undefined) return found;
  throw new InputError("P0694", `\`${folder}\` is for \`${String(said ?? "no model that it names")}\`, which is no folder here`, [
    "name the base model's folder with --base",
  ]);
}

/** Compiles programs that a verb writes itself, as if they lay at `file`. */
export class OwnPrograms {
  constructor(
    private readonly workspace: Workspace,
    readonly file: string,
  ) {}

  sources(text: string): Sources {
    return this.workspace.sources.with(this.file, text);
  }
  compiled(text: string): Project {
    return compile(this.file, this.sources(text));
  }

  private reject(problems: Project["problems"], text: string): never {
    const sources = this.sources(text);
    throw new ProblemsError(problems, (file) => sources.readSource(file));
  }

  /** The same, without errors. Throws `ProblemsError`. */
  sound(text: string): Project {
    const project = this.compiled(text);
    const errors = project.problems.filter((p) => p.severity === "error");
    return errors.length > 0 ? this.reject(errors, text) : project;
  }

  /** A model's folder as a program here has it. `task`: peft's name of one, for a class of the same family. P0601, P0693. */
  base(folder: string, task: string | undefined): Base {
    const { files, sources } = this.workspace;
    const config = readConfig(files, folder);
    if (config === undefined) throw new InputError("P0601", `there is no config.json in \`${folder}\``, ["a model's folder is wanted"]);
    const chosen = classFor(config, folder, task);
    const name = variable(String(config.model_type ?? ""));
    const imported = `import { ${chosen.name} } from "${chosen.file}"`;
    const plain = `model ${name} = ${chosen.name} from "${this.relative(folder)}"`;
    const first = this.compiled(`${imported}\n${plain}\n`);
    const errors = first.problems.filter((p) => p.severity === "error");
    const missing = errors.filter((p) => p.code === "P0605");
    if (errors.length > missing.length) this.reject(errors, `${imported}\n${plain}\n`);
    let fresh: string[] = [];
    if (missing.length > 0) {
      const params = first.models[0].params.map((p) => first.params.get(p)!);
      fresh = [...new Set(sources.matchTensors(params, folder).missing.map((p) => p.split(".")[0]))];
    }
    const excepted = fresh.length === 1 ? `**.${fresh[0]}` : `[${fresh.map((f) => `**.${f}`).join(", ")}]`;
    const made = fresh.length === 0 ? plain : `${plain} except ${excepted}`;
    const [report] = missing.length === 0 ? first.models : this.sound(`${imported}\n${made}\n`).models;
    return { folder, chosen, config, name, imported, made, report, fresh };
  }

  /** A folder as a program here names it. */
  relative(folder: string): string {
    return relativeTo(this.file, folder);
  }
}

/** A name for something in a program. */
export function variable(text: string): string {
  const plain = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .replace(/^_+|_+$/g, "");
  return /^[a-z]/.test(plain) ? plain : "m";
}
