/** Programs over the library on models without files, run by the f64 interpreter. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { Entry, PredictStage, Project } from "../../src/compiler/project.ts";
import { differentiate } from "../../src/ir/autodiff.ts";
import { bind } from "../../src/ir/bind.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { drawInto, keyOf } from "../../src/ir/random.ts";
import { merge } from "../../src/train/stages/merge.ts";
import { stagesOf } from "../../src/train/stages/stages.ts";
import { ValueStore } from "../../src/train/values.ts";
import { SPECS } from "../support/compile.ts";

/** Every method that a file of `std/methods` declares, with that file. */
export function libraryMethods(): { readonly name: string; readonly from: string }[] {
  const folder = path.join(SPECS, "std/methods");
  return readdirSync(folder)
    .filter((file) => file.endsWith(".peft"))
    .flatMap((file) =>
      [...readFileSync(path.join(folder, file), "utf8").matchAll(/^method (\w+)/gm)].map(([, name]) => ({
        name,
        from: `std/methods/${file.slice(0, -5)}`,
      })),
    );
}

export const errorsOf = (p: Project): string[] =>
  p.problems.filter((x) => x.severity === "error").map((x) => [x.code, x.message, x.label, ...(x.notes ?? [])].filter(Boolean).join(" · "));

/** Parameters of attachments, moved off their starts so that nothing is silent. */
export function moved(p: Project, scale = 0.1): ValueStore {
  const values = new ValueStore(p, () => undefined);
  for (const { name, owner, frozen } of p.params.values()) {
    if (owner.kind !== "attachment" || frozen) continue;
    const start = values.param(name);
    const noise = new Float64Array(start.length);
    drawInto(noise, "normal", keyOf(3, name), 0);
    values.setParam(
      name,
      Float32Array.from(start, (v, i) => v + scale * noise[i]),
    );
  }
  return values;
}

/** What comes before the first stage: copies of models, merges. */
export function settle(p: Project, values: ValueStore): void {
  for (const action of p.actions) {
    if (action.kind === "copy") for (const { from, to } of action.params) values.copy(from, to);
    if (action.kind === "merge") merge(action, values);
  }
}

/** Results of one call of an entry. */
export function call(
  p: Project,
  entry: Entry,
  values: ValueStore,
  inputs: Readonly<Record<string, Tensor>>,
  sizes: ReadonlyMap<string, number>,
): Map<string, Tensor> {
  const graph = differentiate(bind(entry.graph, sizes));
  const params = { get: (name: string) => tensor("f32", p.params.get(name)!.shape, Float64Array.from(values.param(name))) };
  const states = {
    get: (name: string) => {
      const s = values.state(name, sizes);
      return tensor(s.dtype, s.shape, Float64Array.from(s.values));
    },
  };
  const all = new Map(Object.entries({ step: tensor("i32", [], [0]), steps: tensor("i32", [], [4]), ...inputs }));
  return interpret(graph, { params, states, inputs: all });
}

export const predictOf = (p: Project, name: string): PredictStage =>
  stagesOf(p).find((s): s is PredictStage => s.verb === "predict" && s.name === name)!;
