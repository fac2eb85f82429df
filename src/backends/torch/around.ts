/** What a region of a graph asks of the program around it. */
import type { Dim } from "../../ir/dim.ts";
import type { Node } from "../../ir/graph.ts";
import type { Region } from "./region.ts";

/** Values that the host knows before a step runs: Python numbers. */
export const HOST_INPUTS: ReadonlySet<string> = new Set(["step", "steps", "update_rows", "rows_before"]);

export interface Around {
  /** The text of a parameter. */
  param(name: string): string;
  /** Lines that run a loop, and what its results are called. */
  loop(n: Node, region: Region, around: Around): void;
  /** Whether it is an entry, not the body of a loop. */
  readonly outermost: boolean;
  /** Whether parameters are handed in, beside the model. */
  readonly apart?: boolean;
  /** Whether gradients are differentiated again. */
  readonly twice: boolean;
  /** Sums that are those of all processes. */
  readonly totals?: ReadonlySet<Node>;
  /** Of what is said of one parameter: a tensor of its shape, which is not written out, under the name it has. */
  readonly local?: { readonly like: string; readonly shape: readonly Dim[] };
  /** What a node is called, where its path does not tell. */
  called?(n: Node): string | undefined;
  /** The place of a node in its sources, for a comment. */
  place?(n: Node): string | undefined;
}
