/** `judged`: prompts with answers that are wished for or not. */
import { type Maker, pathOf } from "../spec.ts";
import { readRows, sourceOf } from "./records.ts";

export const judged: Maker = {
  source(spec, kitchen) {
    const path = pathOf(spec);
    return sourceOf(readRows(path, kitchen), path, spec, kitchen, "judged");
  },
};
