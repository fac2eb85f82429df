import type { Code } from "../../ground/codes.ts";
import type { Span } from "../../ground/span.ts";

/** A mistake of the user's, as data. Rendering is apart, so that editors, JSON and terminals show the same. */
export interface Problem {
  /** `P0312`: stable; the families are P01 text … P09 memory (docs/diagnostics). */
  readonly code: Code;
  readonly severity: "error" | "warning";
  /** One line, what is wrong, in the reader's terms. */
  readonly message: string;
  readonly span: Span | undefined;
  /** Stands under the caret: what was seen here. */
  readonly label?: string | undefined;
  /** Other places that matter, each with its own frame and label. */
  readonly related?: readonly { readonly span: Span; readonly label: string }[];
  /** Lines behind `=`: what there is instead, what to try. */
  readonly notes?: readonly string[] | undefined;
}
