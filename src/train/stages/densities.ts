/** What a run says of zeros that its products skip: a note whenever one of them iterations from dense to sparse or back. */
import type { Density, Session } from "../../ground/program.ts";
import type { Listen, RunEvent } from "../events.ts";

/** Listens as `listen` does, and says after a step what has changed. */
export function sayingDensities(session: Pick<Session, "densities">, listen: Listen): Listen {
  let before = "";
  return (event: RunEvent) => {
    listen(event);
    if (event.event !== "step") return;
    const all = session.densities?.() ?? [];
    const now = all.map((d) => (d.skipping ? 1 : 0)).join("");
    if (now === before || (before === "" && !now.includes("1"))) return;
    before = now;
    listen({ event: "note", message: `step ${event.step}: ${inWords(all)}` });
  };
}

/** `zeros of 3 of 8 tensors are skipped: 2 % to 11 % of them are not zero`. */
function inWords(all: readonly Density[]): string {
  const skipped = all.filter((d) => d.skipping).map((d) => d.density);
  if (skipped.length === 0) return "zeros are no longer skipped: too many numbers are not zero";
  const percent = (x: number) => `${(100 * x).toFixed(x < 0.1 ? 1 : 0)} %`;
  const [low, high] = [percent(Math.min(...skipped)), percent(Math.max(...skipped))];
  const tensors = `zeros of ${skipped.length} of ${all.length} ${all.length === 1 ? "tensor" : "tensors"} are skipped`;
  return `${tensors}: ${low === high ? low : `${low} to ${high}`} of their numbers are not zero`;
}
