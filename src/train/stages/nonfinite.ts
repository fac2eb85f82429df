/**
 * Where a NaN or an infinity came from. The steps since the last good values are run again until the one that made it; that one's graph is computed
 * node by node, rounding to f32 as devices do, and the first operation is named that gave no number though it was given numbers.
 */

import type { Stage } from "../../compiler/project.ts";
import type { Problem } from "../../compiler/report/problem.ts";
import { differentiate } from "../../ir/autodiff.ts";
import { bind } from "../../ir/bind.ts";
import { type Body, type Graph, type Node, order, type Span } from "../../ir/graph.ts";
import { evaluate } from "../../ir/interpret.ts";
import { attrsOf, rowOf, type Tensor } from "../../ir/ops/index.ts";
import { fillBatch } from "../data/columns.ts";
import { sizesFor } from "../engine/entries.ts";
import type { RunHost } from "../host.ts";
import type { Snapshot } from "../run/checkpoint.ts";
import { tensorOf } from "../values.ts";
import type { NonFinite } from "./loop.ts";
import type { PreparedTrain } from "./train.ts";

/** A problem of the language that shows only while running. */
export class RunProblem extends Error {
  override readonly name = "RunProblem";
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

type Replay = (to: number, visit: (step: number, snapshot: Snapshot) => Promise<boolean>) => Promise<void>;

/** The problem to show (P0910) for a loss or gradient that is not finite. */
export async function blame(ready: PreparedTrain, host: RunHost, error: NonFinite, replay: Replay): Promise<RunProblem> {
  let before: Snapshot | undefined;
  let bad = error.step;
  await replay(error.step, async (step, snapshot) => {
    if (!allFinite(snapshot)) {
      bad = step - 1;
      return true;
    }
    before = snapshot;
    return step === error.step;
  });
  const culprit = before === undefined ? undefined : findCulprit(ready, host, bad, before);
  return new RunProblem(problemOf(ready, error, bad, culprit));
}

/** What a stage gave that learns nothing: which stage, and where it stands. */
interface Gave {
  readonly stage: Pick<Stage, "name" | "span">;
  /** `the loss`, `a column`. */
  readonly what: string;
  readonly value: number;
  /** Parameters that the stage reads. */
  readonly params: Iterable<string>;
}

/** The problem (P0910) of values without a step that are not finite: the first parameter or state of the stage that holds such a value, and the file that it comes from. */
export function blameHeld({ stage, what, value, params }: Gave, { values, project }: Pick<RunHost, "values" | "project">): RunProblem {
  let message = `${what} of stage \`${stage.name}\` is ${value}`;
  const names = [...params];
  const found = names.flatMap((name) => heldBy(name, values.param(name), project) ?? [])[0];
  message += found === undefined ? "" : `: ${found}`;
  return new RunProblem({
    code: "P0910",
    severity: "error",
    message,
    span: stage.span,
    label: found === undefined ? "its parameters are finite: the value was made on the way" : undefined,
    notes:
      found === undefined
        ? ["a row without anything to predict, a number of the data that is none, or an overflow"]
        : ["it was saved from a run that diverged, or the file is damaged: take an earlier checkpoint, or the file again"],
  });
}

/** Where the first value of a parameter is that is not finite, in words; `undefined`: there is none. */
export function heldBy(name: string, held: ArrayLike<number>, { params }: Pick<RunHost["project"], "params">): string | undefined {
  let at = 0;
  while (at < held.length && Number.isFinite(held[at])) at++;
  if (at === held.length) return undefined;
  const source = params.get(name)?.source;
  const from = source?.kind === "file" ? ` (tensor \`${source.tensor}\` of \`${source.folder}\`)` : "";
  return `\`${name}\`${from} holds ${held[at]} (element ${at})`;
}

function allFinite({ params, states }: Snapshot): boolean {
  return [...params.values(), ...states.values()].every(({ values }) => values.every(Number.isFinite));
}

function problemOf(ready: PreparedTrain, error: NonFinite, bad: number, culprit: Culprit | undefined): Problem {
  const seen = `${error.message} of stage \`${ready.stage.name}\``;
  const tries = ["a smaller learning rate, a longer warm-up, or `clip`; checkpoints up to here are good"];
  if (culprit === undefined) {
    return {
      code: "P0910",
      severity: "error",
      message: seen,
      span: ready.stage.span,
      label: "the same step computed on the host stays finite: the device's rounding makes the difference",
      notes: tries,
    };
  }
  const { node, value, iteration } = culprit;
  const path = node.origin.path === "" ? "" : ` of ${node.origin.path}`;
  const which = iteration === undefined ? "" : ` (iteration ${iteration.iteration} of ${iteration.of})`;
  const what =
    rowOf(node).supply === undefined ? `\`${node.op}\`${path}${which} gave ${value}` : `\`${String(node.attrs.name)}\` holds ${value}`;
  return {
    code: "P0910",
    severity: "error",
    message: `${seen}: the first value that is no number is ${what}`,
    span: placeOf(node) ?? ready.stage.span,
    label: `${value} came from here`,
    notes: [
      ...(bad === error.step ? [] : [`it was made by step ${bad + 1}, in the gradients or the update`]),
      ...(culprit.operands.length === 0 ? [] : [`given: ${culprit.operands.join("; ")}`]),
      ...tries,
    ],
  };
}

/** The node's own place, or that of the nearest operand that has one. */
function placeOf(node: Node): Span | undefined {
  return node.origin.span ?? node.inputs.map((n) => n.origin.span).find((span) => span !== undefined);
}

interface Culprit {
  readonly node: Node;
  readonly value: string;
  /** Ranges of what it was given. */
  readonly operands: readonly string[];
  readonly iteration: { readonly iteration: number; readonly of: number } | undefined;
}

function findCulprit(ready: PreparedTrain, host: RunHost, step: number, before: Snapshot): Culprit | undefined {
  const { stage, order: rows, tables, sizes, total } = ready;
  const { table, batches } = rows.step(step);
  const entry = stage.step[table];
  for (const rows of batches) {
    const bound = sizesFor(entry, sizes[table], rows.length);
    const inputs = new Map<string, Tensor>([
      ["step", tensorOf("i32", [], [step])],
      ["steps", tensorOf("i32", [], [total])],
    ]);
    const filled = fillBatch(entry.columns, tables[table], rows, sizes[table]);
    const graph = differentiate(bind(entry.graph, bound));
    for (const node of order(graph.results.map((r) => r.node))) {
      const name = String(node.attrs.name);
      if (rowOf(node).supply !== "input" || filled[name] === undefined) continue;
      inputs.set(name, tensorOf(node.type.dtype, node.type.shape as readonly number[], filled[name]));
    }
    const param = (name: string) => before.params.get(name)?.values ?? host.values.param(name);
    const found = culpritOf(graph, {
      inputs,
      params: { get: (name) => tensorOf("f32", host.values.shape(name), param(name)) },
      states: {
        get: (name) => {
          const held = before.states.get(name);
          return held === undefined ? undefined : tensorOf(held.dtype, held.shape, held.values);
        },
      },
    });
    if (found !== undefined) return found;
  }
  return undefined;
}

interface Lookup {
  get(name: string): Tensor | undefined;
}
interface Supplies {
  readonly inputs: Lookup;
  readonly params: Lookup;
  readonly states: Lookup;
}

/** The first operation that gives a value that is not finite, from finite ones, on the way to a result that is not finite. */
function culpritOf(graph: Graph, supplies: Supplies): Culprit | undefined {
  // the loss first: what is wrong there is wrong before any gradient
  const outputs = graph.results.filter((r) => r.role === "output").map((r) => r.node);
  return (
    trace(outputs, new Map(), supplies) ??
    trace(
      graph.results.map((r) => r.node),
      new Map(),
      supplies,
    )
  );
}

/** Values that a loop gives: what `get` nodes read. */
interface Outcome {
  readonly carried: readonly Tensor[];
  readonly exports: ReadonlyMap<string, Tensor>;
  readonly culprit: Culprit | undefined;
}

function trace(roots: readonly Node[], args: ReadonlyMap<Node, Tensor>, supplies: Supplies, kept?: Map<Node, Tensor>): Culprit | undefined {
  const nodes = order(roots);
  const left = new Map<Node, number>();
  for (const n of nodes) for (const i of n.inputs) left.set(i, (left.get(i) ?? 0) + 1);
  for (const r of roots) left.set(r, (left.get(r) ?? 0) + 1);
  const values = new Map<Node, Tensor>();
  const outcomes = new Map<Node, Outcome>();
  /** Nodes whose value is not finite, with who began it. */
  const tainted = new Map<Node, Culprit>();
  for (const n of nodes) {
    const inherited = n.inputs.map((i) => tainted.get(i)).find((c) => c !== undefined);
    if (n.loop !== undefined) {
      const outcome = traceLoop(n, values, supplies);
      outcomes.set(n, outcome);
    } else {
      const from = n.inputs[0]?.loop === undefined ? undefined : outcomes.get(n.inputs[0]);
      const value = args.get(n) ?? (from === undefined ? compute(n, values, supplies) : read(n, from));
      values.set(n, value);
      if (value.data.every(Number.isFinite)) {
        // nothing to say of it
      } else if (inherited !== undefined) tainted.set(n, inherited);
      else if (from?.culprit !== undefined) tainted.set(n, from.culprit);
      else tainted.set(n, describe(n, value, values));
    }
    for (const i of n.inputs) {
      const rest = left.get(i)! - 1;
      left.set(i, rest);
      if (rest === 0) values.delete(i);
    }
  }
  for (const root of roots) {
    const value = values.get(root);
    if (value !== undefined) kept?.set(root, value);
  }
  return roots.map((r) => tainted.get(r)).find((c) => c !== undefined);
}

function compute(n: Node, values: ReadonlyMap<Node, Tensor>, supplies: Supplies): Tensor {
  const row = rowOf(n);
  const value =
    row.supply === undefined
      ? row.eval(
          n.inputs.map((i) => values.get(i)!),
          n.attrs,
          n,
        )
      : evaluate([n], supplies)[0];
  if (value.dtype !== "f32") return value;
  return { ...value, data: Float64Array.from(value.data, Math.fround) };
}

const key = (iteration: unknown, index: unknown): string => `${String(iteration)}.${String(index)}`;

function read(n: Node, from: Outcome): Tensor {
  return n.attrs.output === "carried" ? from.carried[attrsOf(n, "get").index] : from.exports.get(key(n.attrs.iteration, n.attrs.index))!;
}

function traceLoop(n: Node, values: ReadonlyMap<Node, Tensor>, supplies: Supplies): Outcome {
  const { carried, bodies, iterations } = n.loop!;
  let state = n.inputs.slice(0, carried).map((i) => values.get(i)!);
  const exports = new Map<string, Tensor>();
  let culprit: Culprit | undefined;
  for (const [t, iteration] of iterations.entries()) {
    const body: Body = bodies[iteration.body];
    const given = [...state, ...iteration.args.map((k) => values.get(n.inputs[carried + k])!)];
    const clean = given.every((value) => value.data.every(Number.isFinite));
    const results = new Map<Node, Tensor>();
    const found = trace(body.results, new Map(body.params.map((p, i) => [p, given[i]])), supplies, results);
    if (clean && found !== undefined) culprit ??= { ...found, iteration: { iteration: t + 1, of: iterations.length } };
    state = body.results.slice(0, carried).map((r) => results.get(r)!);
    for (const [index, result] of body.results.slice(carried).entries()) exports.set(key(t, index), results.get(result)!);
  }
  return { carried: state, exports, culprit };
}

function describe(n: Node, value: Tensor, values: ReadonlyMap<Node, Tensor>): Culprit {
  const bad = value.data.find((x) => !Number.isFinite(x))!;
  const operands = n.inputs.flatMap((i) => {
    const given = values.get(i);
    return given === undefined ? [] : [range(given)];
  });
  return { node: n, value: String(bad), operands, iteration: undefined };
}

function range({ data, shape }: Tensor): string {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const x of data) {
    low = Math.min(low, x);
    high = Math.max(high, x);
  }
  const show = (x: number) => String(Number(x.toPrecision(4)));
  return low === high ? show(low) : `[${shape.join(", ")}] from ${show(low)} to ${show(high)}`;
}
