import type { Span } from "../../ir/graph.ts";
import type { NumberSource } from "../project.ts";
import type { Elaborator } from "./elaborator.ts";
import { Storage } from "./storage.ts";

/** A number that a run makes between two stages: a parameter that nothing trains, so that later stages read it like any other. */
export function lateNumber(e: Elaborator, source: NumberSource, span: Span): Storage {
  const path = `${source.kind}_${e.actions.filter((a) => a.kind === "number").length + 1}`;
  const place = { owner: { kind: "objective", name: "(numbers)" }, path } as const;
  const storage = new Storage(
    "parameter",
    () => place,
    "f32",
    [],
    () => 0,
    true,
    span,
  );
  storage.source = { kind: "number" };
  // the run fills it in, whether or not anything reads it
  e.used.set(storage.name, storage);
  e.actions.push({ kind: "number", into: storage.name, source, span });
  return storage;
}
