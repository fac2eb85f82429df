/**
 * Results that take the place of others: they are written whole into a folder inside the one they are for, and moved up name by name. What was there stands until
 * then; a machine that stops while they are moved leaves a mark, and whoever comes next moves the rest.
 */
import { type Files, joinPath, readJson, writeJson } from "./files.ts";

/** Inside the folder that is written: on the same disk as it, also where that is a link or a mount. */
const ASIDE = ".peftc-new";
/** Everything beside it is whole and on its way up. */
const READY = "ready.json";

/** Where what is for `folder` is written first. */
export const asideOf = (folder: string): string => joinPath(folder === "" ? "." : folder.replace(/(?<=.)\/+$/, ""), ASIDE);

/** What tools look for first goes last, and is taken away first: a folder with half of each is none that loads. */
const HEADS = ["adapter_config.json", "config.json", "adapter_setup.json", "finished.json"];
/** What runs and savers write, beside checkpoints. */
const RESULTS =
  /^(?:(?:adapter|adapter_fusion|head)_config\.json|config\.json|adapter_setup\.json|finished\.json|metrics\.jsonl?|saved\.json|peftc\.json|(?:adapters?|adapter_model|model|model_head|model_adapter_fusion|objectives|pytorch_[\w-]*|model-\d+-of-\d+)\.(?:safetensors|bin|npz|gguf)(?:\.index\.json)?|checkpoint-\d+)$/;

/** Names in a folder that a result consists of. */
export const resultsAt = (files: Files, folder: string): string[] =>
  files.stat(folder)?.kind === "folder" ? files.list(folder).filter((name) => RESULTS.test(name)) : [];

/** Whether a folder, or one of `parts` in it, holds what a run or a saver left. */
export const holdsResult = (files: Files, folder: string, parts: readonly string[] = []): boolean =>
  [folder, ...parts.map((part) => joinPath(folder, part))].some((at) => resultsAt(files, at).length > 0);

/** Gives what lies whole in `asideOf(folder)` its place. Names in `folder` that it has not, and that are no results, stay. */
export function install(files: Files, folder: string): void {
  const aside = asideOf(folder);
  writeJson(
    files,
    joinPath(aside, READY),
    files.list(aside).filter((name) => !name.startsWith(".")),
  );
  settle(files, folder);
}

/** Ends what `install` began before the machine stopped. */
export function settle(files: Files, folder: string): void {
  const aside = asideOf(folder);
  if (files.stat(joinPath(aside, READY)) === undefined) return;
  const made = new Set(readJson(files, joinPath(aside, READY)) as readonly string[]);
  const left = files.list(aside).filter((name) => made.has(name));
  const rank = (name: string) => HEADS.indexOf(name);
  const old = resultsAt(files, folder).filter((name) => !made.has(name) || (HEADS.includes(name) && left.includes(name)));
  for (const name of old.sort((a, b) => rank(b) - rank(a))) files.remove(joinPath(folder, name));
  for (const name of left.sort((a, b) => rank(a) - rank(b))) {
    files.remove(joinPath(folder, name));
    files.rename(joinPath(aside, name), joinPath(folder, name));
  }
  files.remove(aside);
}

/** Writes a result by `write`, which is given a folder, so that `folder` has all of it or what it had before. */
export function written<T>(files: Files, folder: string, write: (aside: string) => T): T {
  settle(files, folder);
  files.remove(asideOf(folder));
  let out: T;
  try {
    out = write(asideOf(folder));
  } catch (error) {
    files.remove(asideOf(folder));
    throw error;
  }
  install(files, folder);
  return out;
}
