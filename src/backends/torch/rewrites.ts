/** What is done to graphs before they are printed for PyTorch, as rows of the list of passes; `graphs.ts` does it, since most of it is over all graphs of a program. */

import type { PassRow } from "../../ir/passes/pass.ts";
import { roll } from "../../ir/passes/roll.ts";

export const inner: PassRow = {
  name: "inner",
  before: "graphs of a program, the batch alone unbound; grad(e, x) stands for derivatives",
  after: "gradients that a loss is made of, where no column enters them, are written out: PyTorch differentiates once, from the loss",
  law: "results are equal up to rounding",
  target: "torch",
};
export const oneRow: PassRow = {
  name: "one_row",
  before: "the same; what is made of numbers alone is repeated for the rows of the batch",
  after: "what is dear of it is made for one row, and repeated where it is read",
  law: "every result is the same, to the bit",
  optional: true,
  target: "torch",
};
export const once: PassRow = {
  name: "once",
  before: "the same",
  after:
    "what depends on frozen parameters or on numbers alone, and is dear, is read as a parameter or a state, which functions of their own compute first",
  law: "every result is the same, to the bit",
  target: "torch",
};
/** Over graphs that are no updates; the rest of the list knows it by the same name. */
export const rolled: PassRow = { ...roll, target: "torch" };
export const single: PassRow = {
  name: "single",
  before: "an update",
  after: "equal nodes are one, and none adds 0 or multiplies by 1: what every parameter's part asks of all is said once",
  law: "results are equal, but for the sign of zeros",
  target: "torch",
};

/** In their order. */
export const torchRewrites: readonly PassRow[] = [inner, oneRow, once, rolled, single];
