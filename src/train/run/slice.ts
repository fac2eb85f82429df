/** What a stage rests on: which of the actions before it make what it reads, directly or through others. */
import type { Action, DatasetSpec, Entry, Project, Stage } from "../../compiler/project.ts";
import { InputError } from "../../ir/errors.ts";
import { type Node, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";

/**
 * The actions that the stages called `name` need, themselves among them, in order. Stages that only measure or write are left out where nothing reads what they made. P0830: no
 * stage is called so.
 */
export function actionsFor(project: Project, name: string): Action[] {
  const { actions } = project;
  const isAsked = (action: Action): boolean => action.kind === "stage" && (action.stage.name === name || action.stage.verb === name);
  if (!actions.some(isAsked)) {
    const names = [...new Set(actions.flatMap((a) => (a.kind === "stage" ? [a.stage.name] : [])))];
    throw new InputError("P0830", `no stage is called \`${name}\``, [`there are: ${names.join(", ")}`]);
  }
  const values = new Set<string>();
  const folders = new Set<string>();
  const kept: Action[] = [];
  const read = (entry: Entry) => {
    const reads = readsOf(entry.graph.results.map((r) => r.node));
    for (const x of [...reads, ...entry.states]) need(x);
  };
  const need = (value: string) => {
    values.add(value);
    // a value's start may look at other parameters
    const source = project.params.get(value)?.source;
    if (source?.kind === "start") for (const x of readsOf(source.graph.results.map((r) => r.node))) if (!values.has(x)) need(x);
  };
  const tables = (value: unknown): void => {
    if (Array.isArray(value)) for (const x of value) tables(x);
    else if (typeof value === "object" && value !== null && "make" in value) {
      const { make, args, options } = value as DatasetSpec;
      if (make === "predicted" || make === "generated") folders.add(String(args[0]));
      tables(args);
      tables(Object.values(options));
    }
  };
  const wanted = (stage: Stage): boolean => {
    if (stage.name === name || stage.verb === name || folders.has(stage.folder)) return true;
    if (stage.verb !== "train") return false;
    const changed = [...stage.trained, ...stage.step.flatMap((entry) => entry.states.filter((s) => project.states.get(s)?.lasts))];
    return changed.some((x) => values.has(x));
  };
  for (const action of [...actions].reverse()) {
    switch (action.kind) {
      case "limit":
        kept.push(action);
        break;
      case "copy":
        if (!action.params.some(({ to }) => values.has(to))) break;
        kept.push(action);
        for (const { from, to } of action.params) if (values.has(to)) need(from);
        break;
      case "merge":
        if (![...action.copies.map(({ to }) => to), ...action.folds.map(({ param }) => param)].some((x) => values.has(x))) break;
        kept.push(action);
        for (const { from } of action.copies) need(from);
        for (const { graph } of [...action.folds, ...action.checks]) for (const x of readsOf(graph.results.map((r) => r.node))) need(x);
        break;
      case "number":
        if (!values.has(action.into)) break;
        kept.push(action);
        if (action.source.kind === "metric") folders.add(action.source.stage);
        else if (action.source.kind === "similarity") tables(action.source.tables);
        else for (const x of readsOf(action.source.graph.results.map((r) => r.node))) need(x);
        break;
      case "stage": {
        const { stage } = action;
        if (!wanted(stage)) break;
        kept.push(action);
        switch (stage.verb) {
          case "train":
            for (const entry of [...stage.step, ...stage.evaluation]) read(entry);
            tables(stage.data);
            tables(stage.evaluate?.data);
            break;
          case "evaluate":
            read(stage.evaluation);
            tables([stage.data, stage.metrics.map((m) => Object.values(m.options))]);
            break;
          case "predict":
            read(stage.entry);
            tables(stage.data);
            break;
          case "generate":
            for (const entry of [stage.prefill, stage.decode]) read(entry);
            tables(stage.data);
            break;
          case "score":
            tables([stage.data, stage.metrics.map((m) => Object.values(m.options))]);
            break;
          case "report":
            for (const folder of stage.of) folders.add(folder);
            for (const row of stage.rows)
              for (const cell of Object.values(row)) if (typeof cell === "object" && cell !== null) need(cell.late);
            break;
        }
        break;
      }
    }
  }
  return kept.reverse();
}

/** Names of the parameters and states that a graph reads. */
export function readsOf(roots: readonly Node[]): string[] {
  return order(roots).flatMap((n) => {
    const { supply } = rowOf(n);
    return supply === "param" || supply === "state" ? [String(n.attrs.name)] : [];
  });
}
