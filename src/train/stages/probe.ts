/** Calls models on drawn inputs, without data: to see whether two of them compute the same. */
import type { Entry, PredictStage } from "../../compiler/project.ts";
import { arrayColumn, type Column } from "../../formats/data/table.ts";
import type { Values } from "../../ground/program.ts";
import { symbolsOf } from "../../ir/dim.ts";
import { type Bound, indexBounds } from "../../ir/ops/bounds.ts";
import { drawInto, keyOf } from "../../ir/random.ts";
import { batchSymbol, fillBatch } from "../data/columns.ts";
import type { Engine } from "../engine/engine.ts";
import type { ValueStore } from "../values.ts";

const ROWS = 2;
/** Tokens a row. */
const LENGTH = 8;

/** The first column of each stage, all on the same inputs: two rows, drawn from `seed`. */
export async function probe(stages: readonly PredictStage[], engine: Engine, values: ValueStore, seed: number): Promise<Values[]> {
  const sizes = stages.map(({ entry }) => sizesOf(entry));
  const built = await engine.build(
    stages.map(({ name, entry }, i) => ({ name, graph: entry.graph, sizes: sizes[i] })),
    { trained: [] },
  );
  const session = await engine.open(built);
  try {
    for (const name of Object.keys(built.program.params)) await session.write("param", name, values.weights(name));
    for (const name of Object.keys(built.program.states)) await session.write("state", name, values.state(name, sizes[0]).values);
    const out: Values[] = [];
    for (const [i, { name, entry, columns }] of stages.entries()) {
      const inputs = fillBatch(entry.columns, { name: "drawn inputs", rows: ROWS, columns: drawn(entry, seed) }, [0, 1], sizes[i]);
      const outputs = await session.run(name, { ...inputs, step: 0, steps: 1 }, [columns[0]]);
      out.push(outputs[columns[0]]);
    }
    return out;
  } finally {
    await session.close();
  }
}

function sizesOf(entry: Entry): Map<string, number> {
  const batch = batchSymbol(entry.columns);
  const symbols = new Set(entry.columns.flatMap((c) => c.shape.flatMap(symbolsOf)));
  return new Map([...symbols].map((name) => [name, name === batch ? ROWS : LENGTH]));
}

/** Columns that have no default: numbers of a normal distribution, whole numbers that the model can look up, and true. */
function drawn(entry: Entry, seed: number): Map<string, Column> {
  const bounds = indexBounds(entry.graph);
  const columns = new Map<string, Column>();
  for (const { name, dtype, shape, fallback } of entry.columns) {
    if (fallback !== undefined) continue;
    const inner = shape.slice(1).map((d) => (typeof d === "number" ? d : LENGTH));
    const count = inner.reduce((n, d) => n * d, 1);
    const rows = Array.from({ length: ROWS }, (_, row) => {
      const data = new Float64Array(count);
      drawInto(data, dtype === "f32" ? "normal" : "uniform", keyOf(seed, "probe", name, row), 0);
      return { values: dtype === "f32" ? data : data.map((u) => whole(u, dtype === "bool", bounds.get(name))), shape: inner };
    });
    columns.set(name, arrayColumn(rows, inner.length, 0));
  }
  return columns;
}

const whole = (uniform: number, bool: boolean, bound: Bound | undefined): number => (bool ? 1 : Math.floor(uniform * (bound?.below ?? 1)));
