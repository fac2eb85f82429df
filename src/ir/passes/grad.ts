import { differentiate } from "../autodiff.ts";
import type { Pass } from "./pass.ts";

export const grad: Pass = {
  name: "grad",
  before: "grad(e, x) and jvp(e, x, v) stand for derivatives",
  after: "ordinary nodes; a loop has an adjoint loop over the iterations that matter",
  law: "every result is the same up to rounding; what no wanted x leads to has no gradient",
  run: differentiate,
};
