/** What a template may take: it comes with other people's folders, and a loop in it must not keep the machine. */

import { Interpreter } from "@huggingface/jinja";
import { Malformed } from "../../ir/errors.ts";

/** Parts of the template evaluated in one rendering. */
const STEPS = 250_000;
/** Parts inside each other: macros that call themselves. */
const DEPTH = 400;
/** Characters of a text, elements of a list that it makes. */
const LENGTH = 4_000_000;
/** Numbers of one `range`, as in Jinja's sandbox. */
export const RANGE = 100_000;

/** The part of the library's interpreter that is used here: its own types do not say. */
interface Evaluating {
  run(program: unknown): { readonly value: unknown };
  evaluate(statement: unknown, environment: unknown): { readonly value: unknown };
}
const Base = Interpreter as unknown as new (environment: unknown) => Evaluating;

/** The library's interpreter, counting. Throws `Malformed` past a bound. */
export class BoundedInterpreter extends Base {
  private steps = 0;
  private depth = 0;

  override evaluate(statement: unknown, environment: unknown): { readonly value: unknown } {
    if (++this.steps > STEPS) throw new Malformed(`the template takes more than ${STEPS} steps`);
    if (++this.depth > DEPTH) throw new Malformed("the template goes too deep");
    try {
      const made = super.evaluate(statement, environment);
      const { value } = made;
      // a loop over a list makes a scope for each of its elements
      if (Array.isArray(value)) this.steps += Math.floor(value.length / 4);
      if ((typeof value === "string" || Array.isArray(value)) && value.length > LENGTH)
        throw new Malformed(`the template makes something of more than ${LENGTH} characters or elements`);
      return made;
    } finally {
      this.depth--;
    }
  }
}
