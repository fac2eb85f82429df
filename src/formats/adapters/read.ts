/** Opens an adapter's folder of any layout: PEFT's, the adapters library's, mlx-lm's, ours. */
import { InputError } from "../../ir/errors.ts";
import { emptyTensor } from "../checkpoint.ts";
import { type Files, joinPath, readRecord } from "../files.ts";
import { withoutWrappers } from "../names.ts";
import { openTorch } from "../pickle/torch.ts";
import { openSafetensors, type TensorStore } from "../safetensors/read.ts";
import type { AdapterFolder } from "./folder.ts";
import { FUSION_CONFIG, readFusion, readLibrary } from "./library.ts";
import type { Mappings } from "./mapping.ts";
import { MLX_WEIGHTS, readMlx } from "./mlx.ts";
import { openObjectives } from "./objectives.ts";
import { OWN_TYPE, readOwn } from "./own.ts";
import { readPeft } from "./peft.ts";
import { SETUP_FILE } from "./setup.ts";

/**
 * `undefined`: no such folder. P0660: the folder lacks one of its files · P0661: a field of the wrong kind · P0662: an unknown `peft_type` · P0663: a known one that is
 * not built · P0664: tensors that fit no method · P0665: a field whose value is not built · P0666: shapes that contradict the configuration · P0667: no layout that is known ·
 * P0646: an empty tensor · P0669: torch's file that holds more than weights.
 */
export function readAdapter(files: Files, folder: string, mappings: Mappings): AdapterFolder | undefined {
  if (files.stat(folder) === undefined) return undefined;
  const adapter = readLayout(files, folder, mappings);
  const along = openObjectives(files, folder);
  return along === undefined ? adapter : adapter.withObjectives(along);
}

function readLayout(files: Files, folder: string, mappings: Mappings): AdapterFolder {
  const path = joinPath(folder, "adapter_config.json");
  const fusion = joinPath(folder, FUSION_CONFIG);
  if (files.stat(fusion) !== undefined)
    return readFusion(fusion, readRecord(files, fusion), openWeights(files, folder, "model_adapter_fusion"), mappings);
  if (files.stat(path) === undefined) throw new InputError("P0660", `\`${folder}\` has no adapter_config.json`, whatElse(files, folder));
  const config = readRecord(files, path);
  const type = config.peft_type;
  if (typeof type === "string") {
    const open = () => openWeights(files, folder, "adapter_model");
    return type === OWN_TYPE ? readOwn(path, config, open()) : readPeft(path, config, open, mappings);
  }
  if (typeof config.fine_tune_type === "string") {
    if (files.stat(joinPath(folder, MLX_WEIGHTS)) === undefined)
      throw new InputError("P0660", `\`${folder}\` has no ${MLX_WEIGHTS}`, whatElse(files, folder));
    return readMlx(path, config, openSafetensors(files, joinPath(folder, MLX_WEIGHTS)), mappings);
  }
  const version = config.version;
  if (
    config.config !== undefined &&
    typeof config.name === "string" &&
    (version === undefined || String(version).startsWith("adapters."))
  ) {
    return readLibrary(files, folder, config, openWeights(files, folder, "adapter"), mappings);
  }
  throw new InputError(
    "P0667",
    `\`${path}\` has neither the field peft_type (PEFT) nor config and name (adapters) nor fine_tune_type (mlx-lm): its layout is not known`,
  );
}

/** Whether a folder holds an adapter rather than a model. */
export function isAdapter(files: Files, folder: string): boolean {
  return ["adapter_config.json", FUSION_CONFIG].some((name) => files.stat(joinPath(folder, name)) !== undefined);
}

/** Safetensors, or torch's file, which is read without running it. P0646: a tensor whose pieces were not gathered. */
function openWeights(files: Files, folder: string, stem: string): TensorStore {
  const there = (name: string) => files.stat(joinPath(folder, name)) !== undefined;
  const torch = [`${stem}.bin`, `pytorch_${stem}.bin`].find(there);
  if (!there(`${stem}.safetensors`) && torch === undefined)
    throw new InputError("P0660", `\`${folder}\` has no ${stem}.safetensors`, whatElse(files, folder));
  const path = joinPath(folder, there(`${stem}.safetensors`) ? `${stem}.safetensors` : torch!);
  const store = path.endsWith(".safetensors") ? openSafetensors(files, path) : openTorch(files, path);
  for (const { name, shape } of store.tensors.values()) if (shape.length === 1 && shape[0] === 0) throw emptyTensor(path, name);
  return withoutWrappers(store, path);
}

function whatElse(files: Files, folder: string): string[] {
  const names = files.stat(folder)?.kind === "folder" ? files.list(folder) : [];
  if (names.includes(SETUP_FILE)) return ["it holds several adapters and how they act together: `peftc import` makes a program of it"];
  return names.includes("config.json")
    ? ["this looks like a model's folder: `model m = … from` reads those"]
    : [`it holds: ${names.slice(0, 12).join(", ") || "nothing"}`];
}
