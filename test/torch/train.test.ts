/**
 * Runs in PyTorch, on one process and on several, beside the same run here: losses, adapters, checkpoints. By default every method in one way; with
 * `PEFTC_TORCH=all` on one, two and four processes, with parameters whole and in parts, with an update in one part and in three.
 */
import { afterAll, describe, expect } from "@jest/globals";
import { compile } from "../../src/compiler/compile.ts";
import { openSafetensors } from "../../src/formats/safetensors/read.ts";
import { openEngine } from "../../src/node/engine.ts";
import { helpElsewhere, type TorchEngine, torchEngine } from "../../src/node/torch/engine.ts";
import { openWorkspace } from "../../src/node/workspace.ts";
import { DeviceLost } from "../../src/runtime/errors.ts";
import type { Engine } from "../../src/train/engine/engine.ts";
import type { RunEvent } from "../../src/train/events.ts";
import { runFile } from "../../src/train/run/run.ts";
import { type Place, place } from "../cli/support.ts";
import { writeTinyModel } from "../cli/tiny-model.ts";
import { torchTest } from "./support.ts";

/**
 * Of the largest number of a result. Both backends are within a few units of f32 in a step; an update by `adamw` divides a gradient by its own size, so that
 * what is off in the last digits of a small one is a part of the step, and steps are 1e-2.
 */
const TOLERANCE = 1e-4;

const ALL = process.env.PEFTC_TORCH === "all";

const alive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

interface Wanted {
  readonly attach?: string;
  readonly trains?: string;
  readonly more?: string;
  readonly batch?: number;
  readonly accumulate?: number;
  readonly steps?: number;
  readonly eps?: number;
  /** The way it is looked at by default. */
  readonly by?: Way;
}
/** Processes, and how they hold parameters. */
type Way = readonly [number, "ddp" | "fsdp"];
/** 37 lines make a number of rows that no batch here divides. */
const spec = ({ attach, trains = "", more = "", batch = 3, accumulate = 1, steps = 5, eps = 1e-8 }: Wanted): string => `
import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA, NF4 }       from "std/methods/lora"
import { DoRA }            from "std/methods/dora"
import { AdaLoRA }         from "std/methods/adalora"
import { Prefix }          from "std/methods/prefix"
import { causal_lm }       from "std/objectives"
import { adamw }           from "std/training"
${more}
model gpt2 = GPT2LMHeadModel from "models/tiny"
${attach ?? ""}
train {
  objective = causal_lm(gpt2)
  data      = text("corpus.txt", split: 0.9)
  sequence  = 16
  batch     = ${batch}
  accumulate = ${accumulate}
  optimizer = adamw(lr: 1e-2, eps: ${eps})
  steps     = ${steps}
  evaluate  = { metrics: ["perplexity"] }
  checkpoint = { every: 2 }
  seed      = 7
  ${trains}
}
`;

const LORA = "attach lora = LoRA(rank: 4, alpha: 8, dropout: 0.1) to gpt2.transformer.h[*].attn.c_attn";
const METHODS: Readonly<Record<string, Wanted>> = {
  "LoRA with dropout": { attach: LORA, by: [1, "ddp"] },
  "LoRA, the update in three parts": { attach: LORA, accumulate: 3, batch: 2, steps: 4, by: [2, "ddp"] },
  DoRA: { attach: "attach dora = DoRA(rank: 4, alpha: 8) to gpt2.transformer.h[*].attn.c_attn" },
  "a prefix": { attach: "attach front = Prefix(tokens: 4) to gpt2.transformer.h[*].attn" },
  // a key's bias has no slope at all but for rounding, which a small eps would make a step of
  "all parameters": { trains: "params = gpt2", steps: 3, eps: 1e-3 },
  "AdaLoRA, whose ranks change": {
    attach: "attach ada = AdaLoRA(rank: 6, target: 3, begin: 1, end: 1, orth: 0.1) to gpt2.transformer.h[*].{attn.c_attn, mlp.c_fc}",
    steps: 6,
  },
  "LoRA over a base in 4 bits": {
    more: 'import { Linear } from "std/nn"\n',
    attach: `attach four = NF4() to gpt2.transformer.h[*].**: Linear\n${LORA}`,
  },
  "a reversible wiring": {
    attach:
      "attach inner = ParallelSmall(size: 4, act: gelu) to gpt2.transformer.h[*].mlp\nattach rev = MEFT1(size: 4, lambda: 0.1, beta: 1) to gpt2.transformer.h",
    more: 'import { ParallelSmall } from "std/methods/bottleneck"\nimport { MEFT1 } from "std/couplings"\nimport { gelu } from "std/nn"\n',
  },
};

interface Ran {
  readonly losses: readonly number[];
  readonly values: ReadonlyMap<string, ArrayLike<number>>;
  readonly events: readonly RunEvent[];
}

/** A place whose model has two layers, so that there is a loop. */
function deep(text: string): Place {
  const at = place(text);
  writeTinyModel(at.files, "models/tiny", 2);
  return at;
}

async function run(
  at: Place,
  engine: Engine,
  folder: string,
  options: { resume?: boolean; stop?: (e: RunEvent) => void } = {},
): Promise<Ran> {
  const workspace = openWorkspace(at.folder);
  const project = compile("main.peft", workspace.sources, {});
  expect(project.problems.filter((p) => p.severity === "error").map((p) => p.message)).toEqual([]);
  const events: RunEvent[] = [];
  const listen = (event: RunEvent) => {
    events.push(event);
    options.stop?.(event);
  };
  const host = workspace.host(project, engine, { listen, interrupted: () => false, now: () => performance.now() / 1000 });
  await runFile(host, { output: folder, force: false, resume: options.resume === true });
  const losses = at
    .get(`${folder}/metrics.jsonl`)
    .trim()
    .split("\n")
    .map((text) => JSON.parse(text) as Record<string, number>)
    .map((entry) => entry.loss ?? entry.eval_loss);
  // some methods are saved in a folder each
  const last = Math.max(...at.files.list(folder).flatMap((name) => (/^checkpoint-\d+$/.test(name) ? [Number(name.slice(11))] : [])));
  const store = openSafetensors(at.files, `${folder}/checkpoint-${last}/parameters.safetensors`);
  return { losses, events, values: new Map([...store.tensors.keys()].map((name) => [name, store.read(name)])) };
}

function expectNear(seen: Ran, meant: Ran): void {
  const near = (what: string, a: ArrayLike<number>, b: ArrayLike<number>) => {
    const scale = Math.max(1e-3, ...Array.from(b, Math.abs));
    const off = Math.max(...Array.from(b, (x, i) => Math.abs(x - a[i]))) / scale;
    expect([what, a.length === b.length && off <= TOLERANCE ? "near" : off]).toEqual([what, "near"]);
  };
  near("losses", seen.losses, meant.losses);
  expect([...seen.values.keys()]).toEqual([...meant.values.keys()]);
  for (const [name, values] of meant.values) near(name, seen.values.get(name)!, values);
}

const started = new Map<number, Promise<TorchEngine>>();
async function torch(processes: number, shard: "ddp" | "fsdp" = "ddp"): Promise<TorchEngine> {
  if (!started.has(processes)) started.set(processes, torchEngine({ threads: 1, processes }));
  return (await started.get(processes)!).told({ shard });
}

/** The ways that a method is looked at. */
const waysOf = ({ by = [2, "fsdp"] }: Wanted): readonly Way[] =>
  ALL ? [1, 2, 4].flatMap((n) => (n === 1 ? [[n, "ddp"] as const] : (["ddp", "fsdp"] as const).map((shard) => [n, shard] as const))) : [by];

describe("training in PyTorch", () => {
  afterAll(async () => {
    for (const engine of started.values()) await (await engine).close?.();
  });

  for (const [name, wanted] of Object.entries(METHODS)) {
    const parts = ALL && wanted.accumulate === undefined ? [1, 3] : [wanted.accumulate ?? 1];
    for (const accumulate of parts)
      torchTest(`${name}${parts.length > 1 ? `, ${accumulate} parts` : ""}: ends as a run here`, async () => {
        const at = deep(spec({ ...wanted, accumulate }));
        const here = await run(at, await openEngine("wasm"), "here");
        expect(here.losses.at(-1)).toBeLessThan(here.losses[0]);
        for (const [processes, shard] of waysOf(wanted))
          expectNear(await run(at, await torch(processes, shard), `${processes} ${shard}`), here);
      });
  }

  torchTest("products in bf16 end near, and not at the same; layers recomputed end at the same", async () => {
    const at = deep(spec({ attach: LORA }));
    const one = await torch(1);
    const plain = await run(at, one, "plain");
    expectNear(await run(at, one.told({ recompute: true }), "again"), plain);
    const half = await run(at, one.told({ dtype: "bf16" }), "half");
    const off = half.losses.map((loss, i) => Math.abs(loss / plain.losses[i] - 1));
    expect(Math.max(...off)).toBeLessThan(0.01);
    expect(Math.max(...off)).toBeGreaterThan(1e-6);
  });

  // what inductor makes is compiled by a C++ compiler, which takes a minute
  if (ALL)
    torchTest("iterations through torch.compile end as a run here", async () => {
      const at = deep(spec({ attach: LORA }));
      const here = await run(at, await openEngine("wasm"), "here");
      expectNear(await run(at, (await torch(1)).told({ compile: true }), "compiled"), here);
    });

  if (ALL)
    torchTest("two machines, each with a process, end as a run here", async () => {
      const at = deep(spec({ attach: LORA }));
      const here = await run(at, await openEngine("wasm"), "here");
      const nodes = { count: 2, host: "127.0.0.1", port: 29400 + (process.pid % 500) };
      const other = helpElsewhere({ threads: 1, nodes: { ...nodes, node: 1 } });
      const first = await torchEngine({ threads: 1, nodes: { ...nodes, node: 0 } });
      expectNear(await run(at, first, "both"), here);
      await first.close?.();
      await other;
    });

  torchTest(
    "a process that is killed ends the run with a sentence; another number of processes goes on, and so does this one",
    async () => {
      const at = deep(spec({ attach: LORA, steps: 6 }));
      const here = await run(at, await openEngine("wasm"), "here");
      const two = await torchEngine({ threads: 1, processes: 2 });
      const stop = (event: RunEvent) => {
        if (event.event === "checkpoint" && event.step === 2) process.kill(two.processes()[1], "SIGKILL");
      };
      const gone = (await run(at, two, "run", { stop }).then(
        () => undefined,
        (error: unknown) => error,
      )) as DeviceLost;
      expect(gone).toBeInstanceOf(DeviceLost);
      expect(gone.message).toMatch(/the Python process ended/);
      // what the other one says, and what torchrun says of the one that went
      expect(gone.notes.join("\n")).toMatch(/process 0 of 2 ended, since another one is gone/);
      expect(gone.notes.join("\n")).toMatch(/SIGKILL/);
      await two.close?.();
      const resumed = await run(at, await torch(1), "run", { resume: true });
      expect(resumed.events.some((e) => e.event === "resume" && e.step >= 2)).toBe(true);
      expectNear(resumed, here);

      // from a checkpoint of this process to PyTorch, and back
      for (const [from, to] of [
        [await openEngine("wasm"), await torch(2, "fsdp")],
        [await torch(2), await openEngine("wasm")],
      ]) {
        const folder = `from ${from.device}`;
        class Stopped extends Error {}
        const halt = (event: RunEvent) => {
          if (event.event === "checkpoint" && event.step === 4) throw new Stopped();
        };
        await expect(run(at, from, folder, { stop: halt })).rejects.toThrow(Stopped);
        expectNear(await run(at, to, folder, { resume: true }), here);
      }
    },
  );

  torchTest("each process that is left says why it ends, also one that waits and computes nothing", async () => {
    const at = deep(spec({ attach: LORA, steps: 2 }));
    const three = await torchEngine({ threads: 1, processes: 3 });
    await run(at, three, "first");
    const [first, , last] = three.processes();
    process.kill(last, "SIGKILL");
    // torchrun looks now and then, and then ends the others
    for (const since = Date.now(); alive(first) && Date.now() - since < 60_000; ) await new Promise((resolve) => setTimeout(resolve, 100));
    const gone = (await run(at, three, "second").then(
      () => undefined,
      (error: unknown) => error,
    )) as DeviceLost;
    expect(gone).toBeInstanceOf(DeviceLost);
    const said = gone.notes.join("\n");
    for (const rank of [0, 1]) expect(said).toMatch(new RegExp(`process ${rank} of 3 ended, since another one is gone`));
    expect(said).toContain("(SIGTERM)");
    await three.close?.();
  });
});
