/** `refine`: what was generated, asked to be made better: the conversation so far with the answer and one more request. */
import { InputError } from "../../../ir/errors.ts";
import { describe } from "../../files.ts";
import { isConversation, messagesOf } from "../conversation.ts";
import { mapRows } from "../source.ts";
import { innerSpec, type Maker, wrong } from "../spec.ts";
import { parseTemplate } from "../template.ts";

export const refine: Maker = {
  source(spec, kitchen) {
    const request = spec.args[1];
    if (typeof request !== "string") throw wrong(spec, "`prompt`", request, "a text");
    const source = kitchen.source(innerSpec(spec));
    if (source === undefined) return undefined;
    const talks = source.rows.length > 0 && isConversation(source.rows[0]);
    const changed = mapRows(source, (row) => {
      const { answer: draft, prompt, ...rest } = row.values;
      if (talks) return { ...rest, messages: [...messagesOf(row, source.file), { role: "user", content: request }] };
      if (typeof draft !== "string" || typeof prompt !== "string")
        throw new InputError(
          "P0703",
          `\`${source.file}\`, line ${row.line}: answer is ${describe(draft)} where a text to refine is wanted`,
          ["`refine` takes what `generate` wrote"],
        );
      return { ...rest, prompt: `${prompt}${draft}\n${request}\n` };
    });
    if (talks) return changed;
    const plan = {
      inputs: [parseTemplate("{prompt}")],
      target: undefined,
      label: undefined,
      columns: [],
      lower: false,
      wordTags: undefined,
    };
    return { ...changed, plan: { kind: "text", ...plan }, shape: "prompt" };
  },
};
