/** `evaluate` of finished tables: metrics of texts that earlier stages wrote, row by row beside what they should have been. */
import type { ScoreStage } from "../../compiler/project.ts";
import type { Source } from "../../formats/data/source.ts";
import { joinPath, writeJson } from "../../formats/files.ts";
import type { Scalars } from "../events.ts";
import type { RunHost } from "../host.ts";
import { metricNamed, readTables } from "../metrics/index.ts";
import { unfit } from "../metrics/metric.ts";

export interface ScoreHost extends Pick<RunHost, "files" | "listen" | "table"> {
  /** Rows of text of what stages left. */
  written(spec: ScoreStage["data"][number]): Promise<{ readonly name: string; readonly source: Source }>;
}

/** Writes `metrics.json`. Of several tables each metric is named by its table. */
export async function scoreStage(stage: ScoreStage, host: ScoreHost, folder: string | undefined): Promise<Scalars> {
  const metrics: Record<string, number> = {};
  for (const { name: wanted, options } of stage.metrics) {
    const metric = metricNamed(wanted, []);
    if (metric.wants === "labels")
      throw unfit(`\`${wanted}\` compares what an objective predicts with labels, and no objective is given`, [
        "as in `evaluate { objective = classification(m)  data = rows  metrics = [macro_f1()] }`",
      ]);
    if (metric.wants === "tables") {
      Object.assign(metrics, await metric.of(readTables(host), options));
      continue;
    }
    for (const spec of stage.data) {
      const { name, source } = await host.written(spec);
      for (const [key, value] of Object.entries(metric.of(source, options)))
        metrics[stage.data.length > 1 ? `${name}/${key}` : key] = value;
    }
  }
  host.listen({ event: "evaluation", stage: stage.name, step: 0, metrics, best: false });
  if (folder !== undefined) writeJson(host.files, joinPath(folder, "metrics.json"), metrics, true);
  return metrics;
}
