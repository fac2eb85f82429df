/** Which loops of a stage's steps run backwards, found without data and without compiling a program. */
import type { TrainStage } from "../compiler/project.ts";
import type { Span } from "../ir/graph.ts";
import { compileGraph } from "../ir/pipeline.ts";
import { bindSizes } from "./columns.ts";
import { sizesFor } from "./entries.ts";
import { standIn } from "./stand-in.ts";

/** Tokens of a row where the stage says nothing: whether a loop runs backwards does not depend on it. */
const TOKENS = 8;

/** A sentence for each loop that the backward half follows; none where the stage does not ask for `reverse`. */
export function backwards(stage: TrainStage, place: (span: Span) => string | undefined): string[] {
  if (stage.reverse === 0) return [];
  const { reverse, trained } = stage;
  const looked = { ...stage, sequence: stage.sequence ?? TOKENS };
  const said = stage.step.flatMap((entry, i) => {
    const sizes = sizesFor(entry, bindSizes(entry.columns, standIn(looked, i), looked.sequence), stage.batch);
    const { notes } = compileGraph(entry.graph, { sizes, stopAfter: "reverse", options: { reverse, trained, place } });
    return notes.flatMap(({ pass, text }) => (pass === "reverse" ? [text] : []));
  });
  return [...new Set(said)];
}
