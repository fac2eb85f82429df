/** Where a run's artefacts go. A finished run is never written over: the next one's folder is numbered. */
import { asideOf, resultsAt, settle } from "../../formats/aside.ts";
import { type Files, type Json, joinPath, writeJson } from "../../formats/files.ts";
import { InputError } from "../../ir/errors.ts";
import { listCheckpoints } from "./checkpoint.ts";

/** Its presence says that a folder holds a finished run; written last. */
export const MARKER = "finished.json";

export const SAVED = "saved.json";

export const isFinished = (files: Files, folder: string): boolean => files.stat(joinPath(folder, MARKER)) !== undefined;

export function writeMarker(files: Files, folder: string, facts: Readonly<Record<string, Json>>): void {
  writeJson(files, joinPath(folder, MARKER), { format: "peftc-run", version: 1, ...facts }, true);
}

interface FolderOptions {
  /** `--output`: instead of `runs/<file>`. */
  readonly output: string | undefined;
  readonly force: boolean;
  readonly resume: boolean;
}
interface StageFolder {
  readonly name: string;
  readonly verb: string;
  /** `<file>/<name>`. */
  readonly folder: string;
}

/** Folder of runs, relative to the working directory. */
const RUNS = "runs";

/** A stage's folder below the runs': `<file>/<name>`, the file as its path without `.peft` and without steps upwards. */
export function runFolder(file: string, stage: string): string {
  const path = file
    .replace(/\.peft$/, "")
    .split("/")
    .filter((part) => part !== "" && part !== "." && part !== "..");
  return [...path.slice(0, -1), stage].join("/");
}

export interface Chosen {
  /** One for each stage, in order. */
  readonly folders: readonly string[];
  /** What takes the place of `output` when all stages are done lies in `asideOf(output)` until then. */
  readonly replaces?: string;
}

/**
 * A folder for every stage of a file, in order. Without `output`: `runs/<file>/<name>`, all with one number behind them if any stage's folder holds
 * a finished run, or checkpoints of one that was not resumed. With it: that folder for the only `train` stage, `<output>/<name>` for the others; with `force`, where
 * something is there, the same below `asideOf(output)`, and resuming looks there first. P0821: `output` holds something and neither `force` nor `resume` was given.
 */
export function chooseFolders(files: Files, stages: readonly StageFolder[], options: FolderOptions): Chosen {
  const { output } = options;
  if (output !== undefined) {
    const alone = stages.filter((s) => s.verb === "train").length === 1;
    const below = (root: string) =>
      stages.map((s) => (alone && s.verb === "train" ? root : joinPath(root, s.folder.split("/").slice(-1)[0])));
    settle(files, output);
    const aside = asideOf(output);
    if (options.resume && files.stat(aside) !== undefined) return { folders: distinct(below(aside)), replaces: output };
    for (const folder of new Set([output, ...below(output)])) {
      const held = heldIn(files, folder);
      if (held === undefined || (options.resume && held !== FOREIGN)) continue;
      if (options.force) return { folders: distinct(below(aside)), replaces: output };
      throw new InputError("P0821", `\`${folder}\` holds ${held}`, [
        held === FOREIGN
          ? "--force puts the new result in its place"
          : "--force puts a new run in its place, --resume goes on with it or takes its result",
        "without --output the folder is chosen and numbered",
      ]);
    }
    return { folders: distinct(below(output)) };
  }
  const numbered = (n: number) => stages.map((s) => joinPath(RUNS, n === 1 ? s.folder : `${s.folder}-${n}`));
  const used = (n: number) => numbered(n).some((folder) => isFinished(files, folder) || listCheckpoints(files, folder).length > 0);
  let next = 1;
  while (used(next)) next++;
  return { folders: distinct(numbered(options.resume && next > 1 ? next - 1 : next)) };
}

const FOREIGN = "a model or an adapter";
/** What a folder holds that would be lost; `undefined`: nothing. */
function heldIn(files: Files, folder: string): string | undefined {
  if (isFinished(files, folder)) return "a finished run";
  if (listCheckpoints(files, folder).length > 0) return "the checkpoints of a run that was not finished";
  return resultsAt(files, folder).some((name) => !JOURNALS.includes(name)) ? FOREIGN : undefined;
}

/** What a run leaves from its first moment on, before there is anything to lose. */
const JOURNALS = ["metrics.jsonl", "metrics.json", SAVED];

/** Stages that would share a folder (two without a name) get numbers of their own. */
function distinct(folders: readonly string[]): string[] {
  const seen = new Map<string, number>();
  return folders.map((folder) => {
    const count = (seen.get(folder) ?? 0) + 1;
    seen.set(folder, count);
    return count === 1 ? folder : `${folder}.${count}`;
  });
}

/** Takes the mark of a finished run away: it goes on. */
export const unfinish = (files: Files, folder: string): void => files.remove(joinPath(folder, MARKER));

/** Takes away what an earlier run left, so that nothing of it is mistaken for the new one's. Files that no run writes stay. */
export function clearRun(files: Files, folder: string): void {
  files.remove(joinPath(folder, MARKER));
  for (const step of listCheckpoints(files, folder)) files.remove(joinPath(folder, `checkpoint-${step}`));
  for (const name of ["metrics.jsonl", SAVED]) files.remove(joinPath(folder, name));
}

/** Folders that runs gave a stage, with the runs' numbers, the newest first. */
export function runsOf(files: Files, folder: string): { readonly number: number; readonly path: string }[] {
  const parent = joinPath(RUNS, folder.split("/").slice(0, -1).join("/"));
  const name = folder.split("/").at(-1)!;
  if (files.stat(parent)?.kind !== "folder") return [];
  const number = (entry: string) => (entry === name ? 1 : Number(entry.slice(name.length + 1)));
  return files
    .list(parent)
    .filter((entry) => entry === name || (entry.startsWith(`${name}-`) && /^\d+$/.test(entry.slice(name.length + 1))))
    .map((entry) => ({ number: number(entry), path: joinPath(parent, entry) }))
    .sort((a, b) => b.number - a.number);
}

/** Those of finished runs. */
export const finishedRuns = (files: Files, folder: string): string[] =>
  runsOf(files, folder)
    .map(({ path }) => path)
    .filter((path) => isFinished(files, path));
