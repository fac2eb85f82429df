/** Values of an earlier run, or of an adapter's folder, for `eval` and `generate`. */
import type { DatasetSpec, NumberSource, Project, Stage, TrainStage } from "../../compiler/project.ts";
import { type AdapterFolder, rolesIn } from "../../formats/adapters/folder.ts";
import { openObjectives } from "../../formats/adapters/objectives.ts";
import { PREDICTIONS, SAMPLES } from "../../formats/data/makers/predicted.ts";
import { type Files, joinPath } from "../../formats/files.ts";
import { InputError } from "../../ir/errors.ts";
import type { Sources } from "../compiler-host.ts";
import type { Scalars } from "../events.ts";
import { merge } from "../stages/merge.ts";
import { settle } from "../stages/numbers.ts";
import { stagesOf } from "../stages/stages.ts";
import type { ValueStore } from "../values.ts";
import { listCheckpoints, readCheckpoint, readTensors } from "./checkpoint.ts";
import { contradictions, unattached } from "./contradictions.ts";
import { finishedRuns, isFinished, MARKER, runFolder, runsOf } from "./folders.ts";
import { attachedTo, holds } from "./held.ts";
import { metricsIn, resultsIn } from "./results.ts";
import { type FileHost, reportLoaded } from "./run.ts";
import { readsOf } from "./slice.ts";

/**
 * Gives every parameter the value it had at the end of the newest finished run of the file, stage by stage and with the copies between them. Gives
 * the folders it took values from; none: nothing was trained yet.
 */
async function restoreNewest(host: FileHost): Promise<string[]> {
  const { project, files, values } = host;
  const used: string[] = [];
  for (const action of project.actions) {
    await reportLoaded(action, host);
    if (action.kind === "copy") {
      for (const { from, to } of action.params) values.copy(from, to);
    } else if (action.kind === "merge") {
      merge(action, values);
    } else if (action.kind === "stage" && action.stage.verb === "train") {
      const [newest] = finishedRuns(files, runFolder(project.file, action.stage.folder));
      if (newest === undefined) continue;
      restoreRun(action.stage, files, newest, values);
      for (const problem of host.adopt(newest, action.stage.trained)) host.listen({ event: "problem", problem });
      used.push(newest);
    }
  }
  return used;
}

/**
 * What the other stages of the newest finished run left in its folders: tables, and the numbers that later stages were given. Where a file trains nothing, or was not
 * trained yet, the newest files there are. What is not there stays unmade, and is told where it is asked for.
 */
async function restoreMade(host: FileHost): Promise<void> {
  const { project, files } = host;
  const runs = (stage: Stage) => runsOf(files, runFolder(project.file, stage.folder));
  const trained = stagesOf(project).flatMap((s) => (s.verb === "train" ? runs(s).filter(({ path }) => isFinished(files, path)) : []));
  const newest = trained.length === 0 ? undefined : Math.max(...trained.map(({ number }) => number));
  const left = (stage: Stage, file: string) =>
    runs(stage).find(({ number, path }) => (newest ?? number) === number && files.stat(joinPath(path, file)) !== undefined)?.path;
  const metrics = new Map<string, Scalars>();
  for (const action of project.actions) {
    if (action.kind === "number") {
      if (isMade(action.source, host, metrics, left)) await settle(action, host, metrics);
      continue;
    }
    if (action.kind !== "stage") continue;
    const { stage } = action;
    const folder = left(stage, LEFT[stage.verb]);
    if (folder === undefined) continue;
    if (stage.verb === "predict" || stage.verb === "generate") host.predicted(stage, folder);
    if (stage.verb === "train") metrics.set(stage.folder, resultsIn(files, folder));
    if (stage.verb === "evaluate" || stage.verb === "score")
      metrics.set(stage.folder, metricsIn(files, joinPath(folder, LEFT[stage.verb])));
  }
}

/** The file in which a stage leaves what later stages read. */
const LEFT: Readonly<Record<Stage["verb"], string>> = {
  train: MARKER,
  predict: PREDICTIONS,
  generate: SAMPLES,
  evaluate: "metrics.json",
  score: "metrics.json",
  report: "report.json",
};

/** Whether all that a number is made of was left. */
function isMade(
  source: NumberSource,
  { project, values }: Pick<FileHost, "project" | "values">,
  metrics: ReadonlyMap<string, Scalars>,
  left: (stage: Stage, file: string) => string | undefined,
): boolean {
  if (source.kind === "metric") return metrics.get(source.stage)?.[source.name] !== undefined;
  // of numbers alone: parameters may have been others at that point of the run
  if (source.kind === "computed")
    return readsOf(source.graph.results.map((r) => r.node)).every(
      (name) => project.params.get(name)?.source.kind === "number" && values.isHeld(name),
    );
  const stages = stagesOf(project);
  const has = (value: unknown): boolean => {
    if (Array.isArray(value)) return value.every(has);
    if (typeof value !== "object" || value === null || !("make" in value)) return true;
    const { make, args } = value as DatasetSpec;
    if (make !== "predicted" && make !== "generated") return args.every(has);
    const stage = stages.find((s) => s.folder === args[0]);
    return stage !== undefined && left(stage, LEFT[stage.verb]) !== undefined;
  };
  return source.tables.every(has);
}

/** The trained values that a run's folder holds. P0826 where its checkpoint is gone. */
function restoreRun(stage: TrainStage, files: Files, folder: string, values: ValueStore): void {
  const [newest] = listCheckpoints(files, folder);
  if (newest === undefined)
    throw new InputError("P0826", `\`${folder}\` has no checkpoint to take values from`, ["name an adapter's folder with --adapter"]);
  const checkpoint = readCheckpoint(files, folder, newest);
  const { progress } = checkpoint;
  const snapshot = checkpoint.snapshot();
  const params = progress.best === undefined ? snapshot.params : (snapshot.best ?? snapshot.params);
  for (const [name, held] of params) {
    const same = stage.trained.includes(name) && held.shape.join() === values.shape(name).join();
    if (!same)
      throw new InputError("P0827", `\`${folder}\` was trained by another version of this file: \`${name}\` does not fit`, ["train again"]);
    values.setParam(name, held.values as Float32Array);
  }
  for (const [name, held] of snapshot.states) if (values.lasts(name)) values.setState(name, held);
}

/**
 * Puts an adapter's values into the attachments that it fits, by method and place. P0690: a method that the file does not attach · P0691: a place or a
 * parameter that it has and the file has not, or the other way round, or another shape. Gives the models that they are attached to.
 */
function applyAdapter(project: Project, folder: string, adapter: AdapterFolder, values: ValueStore): string[] {
  const set = (name: string, key: string) => {
    const shape = adapter.shapes[key] ?? [];
    const wanted = values.shape(name);
    if (shape.join() !== wanted.join()) {
      throw new InputError(
        "P0691",
        `\`${key}\` of \`${folder}\` has the shape [${shape.join(", ")}], \`${name}\` has [${wanted.join(", ")}]`,
        ["give the attachment in the file the adapter's options"],
      );
    }
    values.setParam(name, Float32Array.from(adapter.read(key)));
  };
  const taken = new Set<string>();
  for (const part of adapter.parts) {
    const methods = [part, ...(part.or ?? [])];
    const attachments = project.attachments.filter(
      (a) => !taken.has(a.name) && methods.some(({ method, from }) => a.method === method && a.declaredIn === from),
    );
    if (attachments.length === 0) {
      if (part.sites.every(({ path }) => isNowhere(project, path))) continue;
      throw unattached(project, folder, adapter, part);
    }
    // one attachment with all the sites; the file may also have spread them over several
    const whole = attachments.find((a) => part.sites.every((site) => siteOf(a.sites, site.path) !== undefined));
    const used = new Set<Project["attachments"][number]>();
    for (const site of part.sites) {
      const fits = whole ?? attachments.find((a) => siteOf(a.sites, site.path) !== undefined);
      if (fits === undefined)
        throw new InputError("P0691", `\`${folder}\` has a ${part.method} at \`${site.path}\`, where the file attaches none`);
      used.add(fits);
      const own = siteOf(fits.sites, site.path)!;
      for (const [path, name] of Object.entries(own.params)) {
        const key = site.params[path];
        if (key === undefined && isDrawn(folder, part, path, fits)) continue;
        if (key === undefined) throw new InputError("P0691", `\`${folder}\` has no \`${path}\` at \`${site.path}\``);
        set(name, key);
      }
      for (const [path, name] of Object.entries(own.states)) {
        const key = site.states?.[path];
        if (key === undefined) throw new InputError("P0691", `\`${folder}\` has no state \`${path}\` at \`${site.path}\``);
        values.loadState(name, adapter.shapes[key], adapter.read(key));
      }
    }
    for (const fits of used) {
      taken.add(fits.name);
      for (const [path, name] of Object.entries(fits.shared)) {
        const key = part.shared[path];
        if (key === undefined && isDrawn(folder, part, path, fits)) continue;
        if (key === undefined) throw new InputError("P0691", `\`${folder}\` has no shared \`${path}\``);
        set(name, key);
      }
    }
  }
  for (const [path, key] of Object.entries(adapter.heads)) {
    const tied = project.models.map(({ ties }) => ties[path]).find((own) => own !== undefined);
    if (tied !== undefined && adapter.heads[tied] !== undefined) {
      requireEqual(folder, adapter, [path, key], [tied, adapter.heads[tied]]);
      continue;
    }
    if (adapter.apart.includes(path) && (tied !== undefined || project.models.some(({ ties }) => Object.values(ties).includes(path))))
      throw new InputError("P0691", `\`${folder}\` has \`${path}\` as a tensor of its own, which the file's model ties`, [
        '`attach a = load("…") to m` unties it',
      ]);
    const name = [...project.params.values()].find((p) => p.owner.kind === "model" && p.path === (tied ?? path))?.name;
    if (name === undefined) throw new InputError("P0691", `\`${folder}\` holds a trained \`${path}\`, which no model of the file has`);
    set(name, key);
  }
  return [...new Set(project.attachments.filter((a) => taken.has(a.name)).map((a) => a.model))];
}

/** P0691: two tensors of a folder differ that are one parameter in the file's model. */
function requireEqual(
  folder: string,
  adapter: AdapterFolder,
  [path, key]: readonly [string, string],
  [own, other]: readonly [string, string],
): void {
  const [a, b] = [adapter.read(key), adapter.read(other)];
  if (a.length === b.length && a.every((x, i) => x === b[i])) return;
  throw new InputError("P0691", `\`${folder}\` has other values for \`${path}\` than for \`${own}\`, which the file's model ties`, [
    '`attach a = load("…") to m` unties them',
  ]);
}

/** Whether the attachment draws a parameter, that the folder does not hold, as it was drawn there. P0691: for another option. */
function isDrawn(
  folder: string,
  { drawn, options }: AdapterFolder["parts"][number],
  path: string,
  fits: Project["attachments"][number],
): boolean {
  if (!drawn?.params.includes(path)) return false;
  const [there, here] = [options[drawn.by], fits.options[drawn.by]];
  if (there !== here)
    throw new InputError(
      "P0691",
      `\`${folder}\` has \`${path}\` as drawn for ${drawn.by} = ${there}, \`${fits.name}\` has ${drawn.by} = ${here}`,
    );
  return true;
}

/** What goes on a place where there is one (`**: LastRead #0?`), and no model of the project has such a place. */
function isNowhere({ models }: Project, path: string): boolean {
  const kinds = models.flatMap(({ modules }) => Object.values(modules).flat());
  return path.endsWith("?") && rolesIn(path).some((role) => !kinds.includes(role));
}

type Sites = Project["attachments"][number]["sites"];

/** The site of that path; `… #3` is the place among all sites in model order. */
function siteOf(sites: Sites, path: string): Sites[number] | undefined {
  const numbered = /#(\d+)\??$/.exec(path);
  if (numbered !== null) return sites[Number(numbered[1])];
  return sites.find((site) => site.path === path || `${site.path}:${site.role ?? ""}` === path);
}

/**
 * Fills the host's store with an adapter's values (a folder of an adapter, of several below it, of a run, of a checkpoint), else those of the newest
 * result, else leaves the base's; says in a sentence which. Warns where an adapter was made on another base or tokenizer. P0692: the folder holds none of these.
 */
export async function useAdapter(host: FileHost, sources: Sources, folder: string | undefined): Promise<string> {
  const { files } = sources;
  const { project, values } = host;
  await restoreMade(host);
  if (folder === undefined) {
    const used = await restoreNewest(host);
    for (const problem of await host.provenances.loaded()) host.listen({ event: "problem", problem });
    return used.length === 0 ? "using the base: nothing was trained yet" : `using the newest result: ${used.join(", ")}`;
  }
  if (files.stat(folder)?.kind !== "folder") throw new InputError("P0692", `there is no folder \`${folder}\``);
  for (const problem of await host.provenances.loaded()) host.listen({ event: "problem", problem });
  const held = holds(files, folder);
  const taken: string[] = [];
  switch (held.kind) {
    case "adapters":
      for (const path of held.folders) {
        const adapter = sources.readAdapter(path)!;
        // what is wrong with its record is said below, with what its base tells
        host.adopt(path);
        for (const model of applyAdapter(project, path, adapter, values))
          for (const problem of await host.provenances.problems(path, model)) host.listen({ event: "problem", problem });
        for (const problem of contradictions(project, path, adapter, sources.mappings)) host.listen({ event: "problem", problem });
        const kept = Object.entries(adapter.objectives).map(
          ([name, key]): Kept => ({ name, shape: adapter.shapes[key], read: () => adapter.read(key) }),
        );
        taken.push(...applyObjectives(host, path, kept));
      }
      break;
    case "checkpoint":
      applyCheckpoint(files, held.folder, values);
      break;
    case "nothing":
      throw new InputError("P0692", `\`${folder}\` holds no adapter and no checkpoint`, [
        `it holds: ${files.list(folder).slice(0, 10).join(", ")}`,
      ]);
    default: {
      const model = held.kind === "model" ? applyModel(project, folder, sources, values) : undefined;
      const along = openObjectives(files, folder);
      const kept = [...(along?.tensors.values() ?? [])].map(({ name, shape }): Kept => ({ name, shape, read: () => along!.read(name) }));
      taken.push(...applyObjectives(host, folder, kept));
      if (model !== undefined && model === project.unattached) {
        warnAfresh(host, folder, taken);
        return `using ${folder} as \`${model}\`: what the file attaches to it (${attachedTo(project, model).join(", ")}) is in its weights or left out, and does not act`;
      }
    }
  }
  if (held.kind !== "checkpoint") warnAfresh(host, folder, taken);
  return `using ${folder}`;
}

interface Kept {
  readonly name: string;
  readonly shape: readonly number[];
  readonly read: () => ArrayLike<number>;
}

/** Gives objectives what they trained, by the names of their parameters. P0691: another shape. Warns (P0698) of those that the file has not. Gives the names it took. */
function applyObjectives({ project, values, listen }: FileHost, folder: string, kept: readonly Kept[]): string[] {
  const taken: string[] = [];
  for (const { name, shape, read } of kept) {
    if (project.params.get(name)?.owner.kind !== "objective") {
      const message = `\`${folder}\` holds \`${name}\`, which an objective trained, and the file has no such objective`;
      const notes = [`give the objective the name it had: \`${name.split(".")[0]} = …\``];
      listen({ event: "problem", problem: { code: "P0698", severity: "warning", message, span: undefined, notes } });
      continue;
    }
    const wanted = values.shape(name);
    if (shape.join() !== wanted.join())
      throw new InputError(
        "P0691",
        `\`${name}\` has the shape [${shape.join(", ")}] in \`${folder}\`, and [${wanted.join(", ")}] in the file`,
      );
    values.setParam(name, Float32Array.from(read()));
    taken.push(name);
  }
  return taken;
}

/** Says which trained parameters of objectives a folder does not bring. */
function warnAfresh({ project, listen }: FileHost, folder: string, taken: readonly string[]): void {
  const trained = new Set(project.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "train" ? a.stage.objectives : [])));
  for (const name of trained) {
    if (taken.includes(name)) continue;
    const message = `\`${folder}\` has no \`${name}\`, which the file's objective trains: it stays as it starts`;
    listen({ event: "problem", problem: { code: "P0698", severity: "warning", message, span: project.params.get(name)?.span } });
  }
}

/**
 * Puts a transformers folder's weights (a model that was trained or merged whole) into the file's last model. P0605, P0606 where the weights are another model's. Gives the model's name.
 */
function applyModel(project: Project, folder: string, sources: Sources, values: ValueStore): string {
  const model = project.models.at(-1);
  if (model === undefined) throw new InputError("P0692", `the file has no model for \`${folder}\``);
  const params = [...new Set(model.params)].map((name) => project.params.get(name)!);
  const found = sources.matchTensors(params, folder);
  if (found.missing.length > 0)
    throw new InputError("P0605", `\`${folder}\` has no tensor for \`${found.missing[0]}\` of \`${model.name}\``);
  const [wrong] = found.wrongShape;
  if (wrong !== undefined)
    throw new InputError(
      "P0606",
      `\`${wrong.path}\` is [${wrong.wanted.join(", ")}] in the file, but [${wrong.seen.join(", ")}] in \`${folder}\``,
    );
  const store = sources.open(folder)!;
  for (const { name, path } of params) values.setParam(name, Float32Array.from(store.read(found.found.get(path)!)));
  return model.name;
}

/** Takes the parameters of one checkpoint's folder (`checkpoint-40`), by name. */
function applyCheckpoint(files: Files, folder: string, values: ValueStore): void {
  for (const [name, held] of readTensors(files, joinPath(folder, "parameters.safetensors")))
    values.setParam(name, held.values as Float32Array);
}
