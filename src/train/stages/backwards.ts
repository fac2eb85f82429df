/** Which loops of a stage's steps run backwards, found without data and without compiling a program. */
import type { ColumnDecl, TrainStage } from "../../compiler/project.ts";
import { symbolsOf } from "../../ir/dim.ts";
import type { Span } from "../../ir/graph.ts";
import { compileGraph } from "../../ir/pipeline.ts";
import { bindSizes } from "../data/columns.ts";
import { standIn } from "../data/stand-in.ts";
import { sizesFor } from "../engine/entries.ts";

/** Tokens of a row where the stage says nothing: whether a loop runs backwards does not depend on it. */
const TOKENS = 8;

/** A sentence for each loop that the backward half follows; none where the stage does not ask for `reverse`. */
export function backwards(stage: TrainStage, place: (span: Span) => string | undefined): string[] {
  if (stage.reverse === 0) return [];
  const { reverse, trained } = stage;
  const looked = { ...stage, sequence: stage.sequence ?? TOKENS };
  const said = stage.step.flatMap((entry, i) => {
    if (entry.columns.some((column) => isPicture(column, entry.columns)))
      return ["known when the data are: pictures have sizes of their own"];
    const sizes = sizesFor(entry, bindSizes(entry.columns, standIn(looked, i), looked.sequence), stage.batch);
    const { notes } = compileGraph(entry.graph, { sizes, stopAfter: "reverse", options: { reverse, trained, place } });
    return notes.flatMap(({ pass, text }) => (pass === "reverse" ? [text] : []));
  });
  return [...new Set(said)];
}

/** Whether a column has sizes that no column of tokens has. */
function isPicture(column: ColumnDecl, all: readonly ColumnDecl[]): boolean {
  const tokens = new Set(all.flatMap(({ dtype, shape }) => (dtype === "f32" ? [] : shape.flatMap((dim) => [...symbolsOf(dim)]))));
  return column.dtype === "f32" && column.shape.slice(1).some((dim) => [...symbolsOf(dim)].some((name) => !tokens.has(name)));
}
