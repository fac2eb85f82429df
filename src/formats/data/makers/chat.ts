/** `chat`: conversations, a row each. */
import { type Maker, pathOf, stringOption } from "../spec.ts";
import { readRows, sourceOf } from "./records.ts";

export const chat: Maker = {
  source(spec, kitchen) {
    const path = pathOf(spec);
    const plan = { kind: "chat", template: stringOption(spec, "template") } as const;
    return sourceOf(readRows(path, kitchen), path, spec, { plan, shape: "conversations" });
  },
};
