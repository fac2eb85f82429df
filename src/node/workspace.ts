/** Files of this machine, the standard library, and hosts for runs on them. */
import path from "node:path";
import type { Project } from "../compiler/project.ts";
import { placeOf } from "../compiler/report/place.ts";
import { type Mappings, readShipped } from "../formats/adapters/mapping.ts";
import { Sources } from "../train/compiler-host.ts";
import { Tables } from "../train/data/data.ts";
import type { Engine } from "../train/engine/engine.ts";
import { fileHost, type Watch } from "../train/file-host.ts";
import type { FileHost } from "../train/run/run.ts";
import { NodeFiles } from "./files.ts";
import { decodeImage } from "./images.ts";
import { libraryTree } from "./library-trees.ts";
import { claim } from "./lock.ts";
import { librarySource, packageRoot, packageVersion } from "./package.ts";

export interface Workspace {
  readonly files: NodeFiles;
  readonly sources: Sources;
  /** Tables of data, for those who only look at them. */
  tables(project?: Project): Tables;
  /** What a run of `project` needs. */
  host(project: Project, engine: Engine, watch: Pick<Watch, "listen" | "interrupted" | "now" | "plainly" | "functions">): FileHost;
}

/** A folder as a program that lies at `file` names it. */
export const relativeTo = (file: string, folder: string): string =>
  path.isAbsolute(folder) ? folder : path.posix.relative(path.posix.dirname(file), folder) || ".";

let shipped: Mappings | undefined;
/** The standard library's own, read once. */
function libraryMappings(files: NodeFiles): Mappings {
  shipped ??= readShipped(files, path.join(packageRoot(), "specs/std/methods"), path.join(packageRoot(), "specs/std/models"));
  return shipped;
}

/** `folder`: what paths are relative to. `sizesOnly`: a model's folder may lack its weights. */
export function openWorkspace(folder: string, sizesOnly = false): Workspace {
  const files = new NodeFiles(folder);
  const sources = new Sources(files, { source: librarySource, tree: libraryTree }, libraryMappings(files), new Map(), sizesOnly);
  return {
    files,
    sources,
    tables: (project) => new Tables(sources, decodeImage, project),
    host: (project, engine, watch) =>
      fileHost(project, sources, engine, {
        ...watch,
        version: packageVersion(),
        decodeImage,
        place: (span) => placeOf(span, (file) => sources.readSource(file)),
        claim: (at) => claim(path.resolve(folder, at)),
      }),
  };
}
