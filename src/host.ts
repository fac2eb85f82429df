/** The compiler's files over a `Files`: sources, configurations, checkpoints, tokenizers, adapters, each read once. */
import type { AdapterFile, Host } from "./compiler/project.ts";
import { readAdapter } from "./formats/adapters/read.ts";
import type { Mappings } from "./formats/adapters/mapping.ts";
import { matchCheckpoint, openCheckpoint } from "./formats/checkpoint.ts";
import { labelCount, readConfig } from "./formats/config.ts";
import { type Files, readText } from "./formats/files.ts";
import { loadTokenizer } from "./formats/tokenizer/tokenizer.ts";

/** `library`: the folder that holds `std/`. */
export function hostOver(files: Files, library: string, mappings: () => Mappings): Host {
  const stores = new Map<string, ReturnType<typeof openCheckpoint>>();
  const store = (folder: string) => {
    if (!stores.has(folder)) stores.set(folder, openCheckpoint(files, folder));
    return stores.get(folder);
  };
  return {
    readSource(path) {
      const file = path.startsWith("std/") ? `${library}/${path}` : path;
      return files.stat(file)?.kind === "file" ? readText(files, file) : undefined;
    },
    readConfig(folder) {
      const config = readConfig(files, folder);
      return config && { ...config, num_labels: labelCount(config) };
    },
    readTensors: (folder) => store(folder)?.tensors,
    matchTensors: (params, folder) => matchCheckpoint(params, store(folder)!.tensors),
    readTokenizer: (folder) => loadTokenizer(files, folder),
    readAdapter: (folder) => readAdapter(files, folder, mappings()) as AdapterFile | undefined,
  };
}
