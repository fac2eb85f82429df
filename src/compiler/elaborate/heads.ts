/** Parameters that a checkpoint left to be started afresh, and that no stage trains. */
import type { Elaborator } from "./elaborator.ts";

/** P0809: a model of which some was loaded gives answers through parameters that are as they were drawn. */
export function checkHeads(e: Elaborator): void {
  for (const { name, instance, report } of e.models) {
    const own = [...instance.tree()].flatMap((i) => [...i.stored()].map(([, p]) => p));
    if (own.every((p) => p.isNew)) continue;
    const idle = own.filter((p) => p.isNew && !p.frozen && e.used.has(p.name) && !e.trained.has(p));
    if (idle.length === 0) continue;
    const shown = idle.slice(0, 3).map((p) => `\`${p.path}\``);
    e.problems.push({
      code: "P0809",
      severity: "warning",
      message: `no stage trains ${shown.join(", ")}${idle.length > 3 ? ` and ${idle.length - 3} more` : ""} of \`${name}\`, which start${idle.length === 1 ? "s" : ""} afresh`,
      span: report.span,
      notes: ["what the model says through them is chance", "`params = new` trains them, so does naming them"],
    });
  }
}
