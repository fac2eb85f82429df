/**
 * What is kept from one `generate` to the next of the same host: the compiled program, and the session with the weights in it. A second one that computes the
 * same compiles nothing and loads only what has changed since. Training ends the session, so that weights do not stand twice.
 */
import type { Session } from "../../ground/program.ts";
import type { RunHost } from "../host.ts";
import { describeGraph, sha256 } from "../run/identity.ts";
import { stopIfAsked, stoppable } from "../stages/stopping.ts";
import type { ValueStore } from "../values.ts";
import type { Built, EntryPoint } from "./engine.ts";
import { loadParams } from "./loading.ts";

interface Kept {
  readonly key: string;
  readonly built: Built;
  session: Session | undefined;
  /** What each parameter on the device was written from: see `ValueStore.version`. */
  readonly written: Map<string, unknown>;
  /** Somebody runs it. */
  busy: boolean;
}

/** Programs that a host keeps. */
const MOST = 4;
const keepers = new WeakMap<ValueStore, Kept[]>();

export interface Opened {
  readonly built: Built;
  readonly session: Session;
  /** Leaves the session to the next one who computes the same; after an error in it, it is closed. */
  close(): Promise<void>;
}

/** Compiles entries that change nothing, opens them and loads the parameters, or as much of that as is not done yet. `memory`: its budget in bytes. `check`: of a program that is new. */
export async function openKept(
  stage: string,
  points: readonly EntryPoint[],
  host: Pick<RunHost, "engine" | "values" | "listen" | "interrupted">,
  memory: number,
  check: (built: Built) => Promise<unknown>,
): Promise<Opened> {
  const { engine, values, listen } = host;
  const all = keepers.get(values) ?? [];
  keepers.set(values, all);
  const key = await sha256([
    String(memory),
    ...points.flatMap((p) => [p.name, JSON.stringify([[...p.sizes], p.growing ?? []]), describeGraph(p.graph)]),
  ]);
  let kept = all.find((k) => k.key === key && !k.busy);
  if (kept === undefined) {
    const built = await engine.build(points, { trained: [], memory });
    await check(built);
    kept = { key, built, session: undefined, written: new Map(), busy: false };
    all.push(kept);
  }
  const mine = kept;
  mine.busy = true;
  let sound = false;
  const end = async () => {
    const { session } = mine;
    mine.session = undefined;
    mine.written.clear();
    await session?.close();
  };
  try {
    // one set of weights at a time
    await dropSessions(values, (k) => k !== mine);
    for (const old of all.filter((k) => !k.busy && k !== mine).slice(0, Math.max(0, all.length - MOST))) all.splice(all.indexOf(old), 1);
    mine.session ??= await engine.open(mine.built);
    const { program } = mine.built;
    await loadParams(stoppable(mine.session, host), program, {
      values,
      stage,
      listen,
      without: (name) => mine.written.has(name) && mine.written.get(name) === values.version(name),
    });
    for (const name of Object.keys(program.params)) mine.written.set(name, values.version(name));
    sound = true;
  } finally {
    if (!sound) {
      await end();
      mine.busy = false;
    }
  }
  const { session } = mine;
  return {
    built: mine.built,
    session: {
      device: session.device,
      memory: session.memory,
      write: (kind, name, data) => session.write(kind, name, data),
      read: (kind, name) => session.read(kind, name),
      run: async (entry, inputs, outputs) => {
        await stopIfAsked(host);
        sound = false;
        const out = await session.run(entry, inputs, outputs);
        sound = true;
        return out;
      },
      close: () => session.close(),
    },
    close: async () => {
      if (!sound) await end();
      mine.busy = false;
    },
  };
}

/** Ends sessions that nobody runs, and frees their memory; the compiled programs stay. */
export async function dropSessions(values: ValueStore, which: (kept: Kept) => boolean = () => true): Promise<void> {
  for (const kept of keepers.get(values) ?? []) {
    if (kept.busy || kept.session === undefined || !which(kept)) continue;
    const { session } = kept;
    kept.session = undefined;
    kept.written.clear();
    await session.close();
  }
}
