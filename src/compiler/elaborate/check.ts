import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { bareTrace } from "./trace.ts";

/** Traces models that no stage calls, so that mistakes in them and their attachments are found all the same. */
export function checkSites(e: Elaborator): void {
  for (const { span } of e.merges.values())
    e.collect(() => fail("P0509", span, "a merged model needs a name", { notes: ["write it as `model plain = merge(m)`"] }));
  const used = new Set([...e.used.values()].map((s) => s.owner.name));
  for (const m of e.models) if (!used.has(m.name)) e.collect(() => void bareTrace(e, m.instance, m.report.span));
}
