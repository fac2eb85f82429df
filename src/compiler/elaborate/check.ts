import type { Elaborator } from "./elaborator.ts";
import { bareTrace } from "./trace.ts";

/** Traces models that no stage calls, so that mistakes in them and their attachments are found all the same. */
export function checkSites(e: Elaborator): void {
  const used = new Set([...e.used.values()].map((s) => s.owner.name));
  for (const m of e.models) if (!used.has(m.name)) e.collect(() => void bareTrace(e, m.instance, m.report.span));
}
