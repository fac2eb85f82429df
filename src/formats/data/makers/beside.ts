/** `beside`: rows of a second table come along with each batch of the first, so many of them, their columns named `held_…`. */
import { InputError } from "../../../ir/errors.ts";
import { innerSpec, isSpec, type Maker, wrong } from "../spec.ts";

export const beside: Maker = {
  table(spec, kitchen) {
    const { batch } = spec.options;
    if (typeof batch !== "number" || !Number.isInteger(batch) || batch < 1) throw wrong(spec, "`batch`", batch, "a whole number from 1 on");
    const held = spec.args[1];
    if (!isSpec(held)) throw wrong(spec, "`held`", held, "a table");
    const main = kitchen.table(innerSpec(spec));
    const second = kitchen.table(held);
    if (main === undefined) return undefined;
    if (second === undefined) throw new InputError("P0731", `\`${held.make}\` has no held-out part`, ["give it `split:`"]);
    return { ...main, beside: { prefix: "held_", table: second, batch } };
  },
};
