/** Names of tensors without what wrapped the model when it was saved. */
import { InputError } from "../ir/errors.ts";
import type { TensorStore } from "./safetensors/read.ts";

/** Segments that wrappers put anywhere in a path: torch.compile, FSDP, checkpointing of activations, AveragedModel's and DeepSpeed's `module`. */
const INSIDE = /(^|\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)/g;
/** What stands in front of the whole path once, outside of everything else. */
const FRONT = /^(?:module\.)+/;

/** `_orig_mod.module.model.x` is `model.x`. */
export function unwrapped(name: string): string {
  let bare = name;
  for (;;) {
    const next = bare.replace(INSIDE, "").replace(/^\./, "").replace(FRONT, "");
    if (next === bare) return bare;
    bare = next;
  }
}

/** The store with bare names. P0642: two tensors have the same one. */
export function withoutWrappers(store: TensorStore, what: string): TensorStore {
  const names = new Map<string, string>();
  for (const name of store.tensors.keys()) {
    const bare = unwrapped(name);
    const other = names.get(bare);
    if (other !== undefined)
      throw new InputError(
        "P0642",
        `\`${what}\` holds \`${other}\` and \`${name}\`, which are both \`${bare}\` without what wrapped the model`,
      );
    names.set(bare, name);
  }
  return [...names].every(([bare, name]) => bare === name) ? store : store.renamed(names);
}
