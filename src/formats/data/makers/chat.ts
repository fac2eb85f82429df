/** `chat`: conversations, a row each. */
import { type Maker, pathOf } from "../spec.ts";
import { readRows, sourceOf } from "./records.ts";

export const chat: Maker = {
  source(spec, kitchen) {
    const path = pathOf(spec);
    return sourceOf(readRows(path, kitchen), path, spec, kitchen, "chat");
  },
};
