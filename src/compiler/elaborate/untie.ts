import type { Elaborator } from "./elaborator.ts";
import type { Instance } from "./instance.ts";
import type { Storage } from "./storage.ts";

/** Unties a parameter of a model, and says so in its configuration. */
export function separate(e: Elaborator, instance: Instance, name: string): Storage {
  const entry = e.models.find((m) => m.instance === instance.root);
  if (entry !== undefined && "tie_word_embeddings" in entry.report.config)
    entry.report = {
      ...entry.report,
      config: { ...entry.report.config, tie_word_embeddings: false },
      changed: [...new Set([...entry.report.changed, "tie_word_embeddings"])],
    };
  return instance.untie(name);
}
