/** How a program describes a table and a metric of its rows. */
import type { Span } from "./span.ts";

/** A call of a host function that makes a table; the paths in it are resolved. */
export interface TableSpec {
  readonly make: string;
  readonly args: readonly unknown[];
  readonly options: Readonly<Record<string, unknown>>;
  /** `held`: the rest of a split. */
  readonly part: "main" | "held";
}

/** The same as a file says it, `text("data/x.txt", split: 0.95)`: paths are as written, relative to the file of `span`. */
export interface DatasetSpec extends TableSpec {
  readonly kind: "dataset";
  readonly args: readonly Static[];
  readonly options: Readonly<Record<string, Static>>;
  readonly span: Span;
}

/** A value that a file says and no run changes. */
export type Static = number | string | boolean | null | readonly Static[] | { readonly [key: string]: Static } | DatasetSpec;

/** A metric with what it is told. */
export interface MetricSpec {
  readonly name: string;
  readonly options: Readonly<Record<string, Static>>;
}
