/** Whole-number arithmetic over names (`2 * num_layers`, `token_dim / heads`, `n_head|num_heads` for the first that is there): what mapping files say sizes with. */

import { Bug, InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";

export type Scope = Readonly<Record<string, unknown>>;

/** `what` names the file in messages. P0661: a name that is no whole number, or a division with a rest. */
export function evaluate(text: string, scope: Scope, what: string): number {
  const tokens = text.match(/\d+|[A-Za-z_][\w|]*|[-+*/%()]/g) ?? [];
  let at = 0;
  const atom = (): number => {
    const token = tokens[at++];
    if (token === "(") {
      const value = sum();
      if (tokens[at++] !== ")") throw new Bug(`unbalanced expression \`${text}\``);
      return value;
    }
    if (token !== undefined && /^\d/.test(token)) return Number(token);
    if (token === undefined || !/^\w/.test(token)) throw new Bug(`malformed expression \`${text}\``);
    const value = token
      .split("|")
      .map((name) => own(scope, name))
      .find((found) => found !== undefined && found !== null);
    if (typeof value === "number" && Number.isInteger(value)) return value;
    throw new InputError(
      "P0661",
      `${what}: ${token} is ${value === undefined ? "missing" : JSON.stringify(value)} where a whole number is wanted`,
    );
  };
  const product = (): number => {
    let value = atom();
    for (let op = tokens[at]; op === "*" || op === "/" || op === "%"; op = tokens[at]) {
      at++;
      const right = atom();
      if (op === "/" && (right === 0 || value % right !== 0))
        throw new InputError("P0661", `${what}: ${text} is ${value} / ${right}, which is no whole number`);
      value = op === "*" ? value * right : op === "/" ? value / right : value % right;
    }
    return value;
  };
  const sum = (): number => {
    let value = product();
    for (let op = tokens[at]; op === "+" || op === "-"; op = tokens[at]) {
      at++;
      value = op === "+" ? value + product() : value - product();
    }
    return value;
  };
  const value = sum();
  if (at !== tokens.length) throw new Bug(`malformed expression \`${text}\``);
  return value;
}
