/**
 * Ending before the time, when somebody asks: between the calls of a session, the pieces of weights, the stages of a file. What asks (a signal, a button) is
 * heard only when the event loop turns, so every such place lets it.
 */

import type { Session } from "../../ground/program.ts";
import type { Weights } from "../../ground/weights.ts";
import { Interrupted } from "../events.ts";
import type { RunHost } from "../host.ts";

/** Milliseconds of work after which the loop is let turn. */
const WORK = 30;
let last = 0;

/** Lets the event loop turn, if it has not for a while. */
export async function letEventsIn(): Promise<void> {
  if (performance.now() - last < WORK) return;
  await new Promise<void>((resolve) => setTimeout(resolve, 0));
  last = performance.now();
}

/** Throws `Interrupted`, without a checkpoint, if somebody asked. */
export async function stopIfAsked({ interrupted }: Pick<RunHost, "interrupted">): Promise<void> {
  await letEventsIn();
  if (interrupted()) throw new Interrupted(0, undefined);
}

/** A session that, when somebody asks, ends before its next call or the next piece of a weight. */
export function stoppable(session: Session, host: Pick<RunHost, "interrupted">): Session {
  const piecewise = (weights: Weights): Weights => ({
    length: weights.length,
    fill: async (into, at) => {
      await stopIfAsked(host);
      await weights.fill(into, at);
    },
    fillWords: async (into, at, format) => {
      await stopIfAsked(host);
      await weights.fillWords(into, at, format);
    },
  });
  // calls keep their order, also where one waits for the loop to turn
  let gate: Promise<void> = Promise.resolve();
  const pass = (): Promise<void> => {
    const passed = gate.then(() => stopIfAsked(host));
    gate = passed.catch(() => {});
    return passed;
  };
  return {
    device: session.device,
    memory: session.memory,
    write: async (kind, name, data) => {
      await pass();
      await session.write(kind, name, "fill" in data && !ArrayBuffer.isView(data) ? piecewise(data as Weights) : data);
    },
    read: (kind, name) => session.read(kind, name),
    run: async (entry, inputs, outputs) => {
      await pass();
      return session.run(entry, inputs, outputs);
    },
    densities: () => session.densities?.() ?? [],
    close: () => session.close(),
  };
}
