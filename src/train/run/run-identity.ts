import { tablePieces } from "../data/columns.ts";
import type { RunHost } from "../host.ts";
import { ORDER } from "../stages/row-order.ts";
import type { PreparedTrain } from "../stages/train.ts";
import { describeGraph, type Identity, STAMPED, sha256 } from "./identity.ts";

/** What the run is, for checkpoints. Weights are those it starts from, so this must be asked before training. */
export async function identityOf(ready: PreparedTrain, host: RunHost): Promise<Identity> {
  const { stage } = ready;
  const data: Record<string, string> = {};
  for (const [i, table] of ready.tables.entries()) data[`${i > 0 ? `${i} ` : ""}${table.name}`] = await sha256(tablePieces(table));
  const weights: Record<string, string> = {};
  const byOwner = new Map<string, string[]>();
  for (const name of Object.keys(ready.built.program.params).sort()) {
    const owner = host.project.params.get(name)?.owner.name ?? name;
    byOwner.set(owner, [...(byOwner.get(owner) ?? []), name]);
  }
  for (const [owner, names] of byOwner) {
    const stamps = names.map((name) => host.values.stamp(name));
    const pieces = function* () {
      for (const [i, name] of names.entries()) {
        yield name;
        yield stamps[i] ?? host.values.param(name);
      }
    };
    weights[owner] = (stamps.every((s) => s === undefined) ? "" : STAMPED) + (await sha256(pieces()));
  }
  const { batch, accumulate, sequence, seed, shuffle, precision, reverse, evaluate, checkpoint } = stage;
  const settings: Record<string, unknown> = { steps: ready.total, batch, accumulate, sequence, seed, shuffle, precision, reverse };
  settings["order of rows"] = ORDER;
  settings["evaluate.every"] = evaluate?.every;
  settings["evaluate.best"] = evaluate?.best;
  settings["evaluate.stop_after"] = evaluate?.stopAfter;
  settings["checkpoint.every"] = checkpoint.every;
  return {
    settings: Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, value === undefined ? "none" : String(value)])),
    graph: await sha256([...stage.step, ...stage.evaluation].map((entry) => describeGraph(entry.graph))),
    data,
    weights,
    arithmetic: `${ready.built.program.target} ${ready.built.program.arithmetic}${host.engine.rounding === undefined ? "" : ` ${host.engine.rounding}`}, peftc ${host.version}`,
  };
}
