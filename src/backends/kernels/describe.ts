/**
 * A kernel in words, for the head of its text: its axes with their sizes, its operands with theirs, and what is computed, a line for each value
 * that is no literal. Values are called `v3` as in the text of every printer, axes `a0`, operands by their names.
 */
import type { Atom, Index } from "./index.ts";
import type { LoopLanguage, Reduction, Store, Value } from "./kernel.ts";
import { sumsOf } from "./kernel.ts";

/** Lines of values that are shown; longer ones are told by their number. */
const MOST = 40;

function atomText(a: Atom): string {
  switch (a.kind) {
    case "axis":
      return `a${a.axis}`;
    case "value":
      return `v${a.value}`;
    case "div":
      return `(${indexText(a.of)}) / ${a.by}`;
    case "mod":
      return `(${indexText(a.of)}) % ${a.by}`;
  }
}
function indexText({ base, terms }: Index): string {
  const parts = terms.map(({ factor, atom }) => (factor === 1 ? atomText(atom) : `${factor}·${atomText(atom)}`));
  return [...parts, ...(base !== 0 || parts.length === 0 ? [String(base)] : [])].join(" + ");
}

export function describeKernel(kernel: LoopLanguage): string[] {
  const { operands, values } = kernel;
  const named = (v: number): string => {
    const value = values[v];
    return value.kind === "const" ? String(value.value) : value.kind === "acc" ? "sum" : `v${v}`;
  };
  const stored = ({ operand, index, value, guard }: Store): string =>
    `${operands[operand].name}[${indexText(index)}] = ${named(value)}${guard === undefined ? "" : ` if ${named(guard)}`}`;
  const reduced = ({ fn, value }: Reduction): string => `${fn} of ${named(value)}`;
  const line = (value: Value): string | undefined => {
    switch (value.kind) {
      case "const":
      case "acc":
        return undefined;
      case "index":
        return indexText(value.index);
      case "load":
        return `${operands[value.operand].name}[${indexText(value.index)}]${value.guard === undefined ? "" : ` if ${named(value.guard)}`}`;
      case "call":
        return `${value.fn === "cast" ? value.dtype : value.fn}(${value.args.map(named).join(", ")})`;
      case "reduced": {
        const stage = kernel.kind === "loop" ? kernel.stages[value.stage] : undefined;
        return stage === undefined ? "reduced" : reduced(stage.reductions[value.slot]);
      }
    }
  };
  const computed = values.flatMap((value, v) => {
    if (value.kind === "acc") return sumText(kernel, named);
    const text = line(value);
    return text === undefined ? [] : [`v${v} = ${text}`];
  });
  const [shown, rest] = [computed.slice(0, MOST), Math.max(0, computed.length - MOST)];
  return [
    shapeOf(kernel),
    operands
      .map(
        ({ name, dtype, count, access }) =>
          `${name} ${dtype}[${count}]${access === "read" ? "" : `, ${access === "both" ? "read and written" : "written"}`}`,
      )
      .join("; "),
    ...shown.map((text) => `  ${text}`),
    ...(rest > 0 ? [`  … ${rest} more`] : []),
    ...results(kernel, named, stored).map((text) => `  ${text}`),
  ];
}

function shapeOf(kernel: LoopLanguage): string {
  const axes = kernel.axes.map((size, a) => `a${a} < ${size}`);
  switch (kernel.kind) {
    case "loop": {
      const first = axes.length - kernel.row;
      const row = axes.slice(first);
      return `for ${axes.slice(0, first).join(", ") || "one element"}${row.length === 0 ? "" : `; along a row of ${row.join(", ")}`}`;
    }
    case "product":
      return `product for ${axes.slice(0, 3).join(", ")}; summed along ${axes.slice(3).join(", then ")}`;
    case "scatter":
      return `rows added up at their places: ${axes.join(", ")}, into ${kernel.rows} rows`;
    case "scan":
      return `running sums along ${axes.at(-1)}${axes.length > 1 ? `, for ${axes.slice(0, -1).join(", ")}` : ""}`;
    case "select":
      return `the k-th smallest of ${axes[0]}`;
  }
}

function sumText(kernel: LoopLanguage, named: (v: number) => string): string[] {
  if (kernel.kind === "scan") return [`sum += ${named(kernel.value)}`];
  if (kernel.kind !== "product") return [];
  const sums = sumsOf(kernel).map(({ lhs, rhs, gate }) => `${named(lhs)}·${named(rhs)}${gate === undefined ? "" : ` if ${named(gate)}`}`);
  return [`sum += ${sums.join(", then ")}`];
}

function results(kernel: LoopLanguage, named: (v: number) => string, stored: (s: Store) => string): string[] {
  switch (kernel.kind) {
    case "loop":
      return kernel.stages.flatMap((stage) => stage.stores.map(stored));
    case "product":
    case "scan":
      return kernel.stores.map(stored);
    case "scatter":
      return [`${kernel.operands[kernel.out].name}[${named(kernel.index)}, a1] += ${named(kernel.value)}`];
    case "select":
      return [`${kernel.operands[kernel.out].name}[0] = number ${named(kernel.k)} of ${named(kernel.value)}`];
  }
}

/** Paths that differ in numbers only as one: `h.0.mlp`, `h.1.mlp` → `h.*.mlp`; in the order in which they came. */
export function placesOf(labels: Iterable<string>): string[] {
  const groups = new Map<string, Set<string>>();
  for (const label of labels) {
    const key = label.replace(/(^|\.)\d+(?=\.|\b)/g, "$1*");
    groups.set(key, (groups.get(key) ?? new Set()).add(label));
  }
  return [...groups].map(([key, all]) => (all.size === 1 ? [...all][0] : `${key} (${all.size} places)`));
}

/** The head of a kernel's text: where it runs, and what it computes. */
export const headOf = (kernel: LoopLanguage, labels: Iterable<string>): string[] => [...placesOf(labels), ...describeKernel(kernel)];
