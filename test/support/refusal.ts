/** What a reader says of a file that it refuses. */
import { InputError } from "../../src/ir/errors.ts";

/** Code, message and notes, below each other. */
export function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof InputError) return [`${error.code} ${error.message}`, ...error.notes].join("\n");
    throw error;
  }
  return "nothing was refused";
}
