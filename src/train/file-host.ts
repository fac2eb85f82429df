/** A host for runs over `Sources`: data, tokenizers, values and results all come from and go to its files. */
import type { GenerateStage, Project } from "../compiler/project.ts";
import type { TableContext } from "../formats/data/make.ts";
import type { RowFunction } from "../formats/data/makers/scored.ts";
import { InputError } from "../ir/errors.ts";
import type { Sources } from "./compiler-host.ts";
import { promptsOf, Tables } from "./data/data.ts";
import type { Engine } from "./engine/engine.ts";
import type { RunHost } from "./host.ts";
import { artefactsFor } from "./run/artefacts.ts";
import { Provenances } from "./run/provenance.ts";
import type { FileHost } from "./run/run.ts";
import { ValueStore } from "./values.ts";

export interface Watch extends Pick<RunHost, "listen" | "interrupted" | "now" | "version"> {
  /** Reads pictures, where the machine can. */
  readonly decodeImage?: TableContext["decodeImage"];
  /** What `scored` tables call, by name. */
  readonly functions?: Readonly<Record<string, RowFunction>> | undefined;
  readonly claim?: RunHost["claim"] | undefined;
  readonly place?: RunHost["place"];
  /** Runs work that nobody can stop between two parts of it, and that has nothing to save: what asks to stop may end the process. */
  readonly plainly?: (<T>(work: () => Promise<T>) => Promise<T>) | undefined;
}

export function fileHost(project: Project, sources: Sources, engine: Engine, watch: Watch): FileHost {
  const tables = new Tables(sources, watch.decodeImage, project, watch.functions);
  const plainly: NonNullable<Watch["plainly"]> = watch.plainly ?? ((work) => work());
  const values = new ValueStore(project, sources.open);
  return {
    ...watch,
    project,
    files: sources.files,
    engine: {
      ...engine,
      build: (entries, options) => plainly(() => engine.build(entries, options)),
      open: (built) => plainly(() => engine.open(built)),
    },
    values,
    table: (request) => plainly(async () => tables.table(request)),
    written: (spec) => tables.written(spec),
    adopt: (folder, params) => tables.book.adopt(folder, params),
    predicted: (stage, folder) => tables.predicted(stage, folder),
    artefacts: artefactsFor(project, sources.files, sources.mappings, (data) => tables.classesOf(data)),
    provenances: new Provenances(project, sources, values, watch.version),
    tokenizer: (source) => sources.readTokenizer(source),
    prompts: async (stage: GenerateStage) => {
      if (stage.prompts !== undefined) return promptsOf(stage.prompts);
      if (stage.data === undefined) throw new InputError("P0737", `stage \`${stage.name}\` has no prompts`);
      return tables.prompts(stage.data, stage.tokenizer, stage.begin !== undefined);
    },
  };
}
