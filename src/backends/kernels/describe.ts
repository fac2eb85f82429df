/**
 * A kernel in words, for the head of its text: its axes with their sizes; its operands with their shapes and what they hold; and what is computed, a line for each
 * value that is no literal. Values and operands have the names that they have in the text of every printer.
 */
import type { Atom, Index } from "./index.ts";
import type { LoopLanguage, Operand, Reduction, Store, Value } from "./kernel.ts";
import { sumsOf } from "./kernel.ts";
import { type Holdings, placesOf, valueNames } from "./names.ts";

/** Lines of values that are shown; longer ones are told by their number. */
const MOST = 40;

/** How the axes of a kernel are called: those of a row `r0`, `r1`, what lies outside `a0`, `a1`; of a product batch, row, column and what is summed along. */
function axisName(kernel: LoopLanguage, axis: number): string {
  if (kernel.kind === "product") return ["b", "m", "n", "k"][axis] ?? `k${axis - 2}`;
  const outer = kernel.kind === "loop" ? kernel.axes.length - kernel.row : kernel.axes.length;
  return axis < outer ? `a${axis}` : `r${axis - outer}`;
}
function indexText(kernel: LoopLanguage, { base, terms }: Index): string {
  const atomText = (a: Atom): string => {
    switch (a.kind) {
      case "axis":
        return axisName(kernel, a.axis);
      case "value":
        return valueNames(kernel)[a.value];
      case "div":
        return `${inner(a.of)} / ${a.by}`;
      case "mod":
        return `${inner(a.of)} % ${a.by}`;
    }
  };
  const inner = (i: Index): string => (i.terms.length === 1 && i.base === 0 && i.terms[0].factor === 1 ? text(i) : `(${text(i)})`);
  const text = (i: Index): string => {
    const parts = i.terms.map(({ factor, atom }) => {
      const said = atomText(atom);
      return factor === 1 ? said : `${factor}·${atom.kind === "div" || atom.kind === "mod" ? `(${said})` : said}`;
    });
    return [...parts, ...(i.base !== 0 || parts.length === 0 ? [String(i.base)] : [])].join(" + ").replaceAll("+ -", "- ");
  };
  return text({ base, terms });
}

/** `holdings`: what the operands hold, where that is known. */
export function describeKernel(kernel: LoopLanguage, holdings?: Holdings): string[] {
  const { operands, values } = kernel;
  const names = valueNames(kernel);
  const indexOf = (i: Index): string => indexText(kernel, i);
  const named = (v: number): string => {
    const value = values[v];
    return value.kind === "const" ? String(value.value) : value.kind === "acc" ? "sum" : names[v];
  };
  const stored = ({ operand, index, value, guard }: Store): string =>
    `${operands[operand].name}[${indexOf(index)}] = ${named(value)}${guard === undefined ? "" : ` if ${named(guard)}`}`;
  const reduced = ({ fn, value }: Reduction): string => `${fn} of ${named(value)}`;
  const line = (value: Value): string | undefined => {
    switch (value.kind) {
      case "const":
      case "acc":
        return undefined;
      case "index":
        return indexOf(value.index);
      case "load":
        return `${operands[value.operand].name}[${indexOf(value.index)}]${value.guard === undefined ? "" : ` if ${named(value.guard)}`}`;
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
    return text === undefined ? [] : [`${names[v]} = ${text}`];
  });
  const [shown, rest] = [computed.slice(0, MOST), Math.max(0, computed.length - MOST)];
  return [
    shapeOf(kernel),
    ...operandLines(operands, holdings).map((text) => `  ${text}`),
    ...shown,
    ...(rest > 0 ? [`… ${rest} more`] : []),
    ...results(kernel, named, stored),
  ];
}

/** Places of an operand that are named; more are told by their number. */
const PLACES = 3;
const ACCESS: Readonly<Record<Operand["access"], string>> = { read: "", write: ", written", both: ", read and written" };

/** A line an operand: its name, its shape and what it holds, below each other. */
function operandLines(operands: readonly Operand[], holdings: Holdings | undefined): string[] {
  const lines = operands.map(({ name, dtype, count, access }, i): [string, string, string] => {
    const held = holdings?.places(i) ?? [];
    const places = held.length > PLACES ? [...held.slice(0, PLACES - 1), `${held.length - PLACES + 1} more`] : held;
    const shapes = holdings?.shapes(i) ?? [];
    const shape = shapes.length === 0 || shapes.length > 2 ? String(count) : shapes.join("] or [");
    return [name, `${dtype}[${shape}]${ACCESS[access]}`, places.join(", ")];
  });
  const width = (column: number) => Math.max(...lines.map((line) => line[column].length));
  return lines.map(([name, shape, places]) => `${name.padEnd(width(0))}  ${shape.padEnd(width(1))}  ${places}`.trimEnd());
}

function shapeOf(kernel: LoopLanguage): string {
  const axes = kernel.axes.map((size, a) => `${axisName(kernel, a)} < ${size}`);
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

/** The head of a kernel's text: where it runs, what it holds, and what it computes. */
export const headOf = (kernel: LoopLanguage, labels: Iterable<string>, holdings: Holdings): string[] => [
  ...placesOf(labels),
  ...describeKernel(kernel, holdings),
];
