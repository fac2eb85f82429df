/** What `plan --on torch` says, beside what PyTorch hands its collectives; what runs from a folder; what is refused. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { openSafetensors } from "../../src/formats/safetensors/read.ts";
import { requirePython } from "../../src/node/torch/python.ts";
import { type Place, peftc, place, SPEC } from "../cli/support.ts";
import { writeTinyModel } from "../cli/tiny-model.ts";
import { torchTest } from "./support.ts";

/** Two batches an update, which no number of rows divides. */
const spec = SPEC.replace("batch     = 4", "batch = 3\n  accumulate = 2").replace(/generate \{.*\}\n/, "");

/** A place whose model has two layers, so that there is a loop. */
function deep(text: string): Place {
  const at = place(text);
  writeTinyModel(at.files, "models/tiny", 2);
  return at;
}

describe("across processes", () => {
  test("plan says what a process has and sends; one process sends nothing, parts are smaller", async () => {
    const at = deep(spec);
    const facts = async (...more: string[]) => {
      const { code, err, events } = await peftc(at, ["plan", "main.peft", "--on", "torch", "--json", ...more]);
      expect([code, err]).toEqual([0, ""]);
      return events().find((e) => e.event === "plan_across") as { memory: Record<string, number>; sent: number };
    };
    const one = await facts();
    expect(one.sent).toBe(0);
    const ddp = await facts("--processes", "4");
    expect(ddp.memory.parameters).toBe(one.memory.parameters);
    // (n − 1)/n, twice, of the gradients and of the few sums
    const gradients = one.memory.gradients;
    expect(ddp.memory.gradients).toBe(2 * gradients);
    expect(ddp.sent).toBeGreaterThanOrEqual(1.5 * gradients);
    expect(ddp.sent).toBeLessThan(1.5 * gradients + 100);
    const fsdp = await facts("--processes", "4", "--shard", "fsdp");
    expect(fsdp.memory.parameters).toBeLessThan(one.memory.parameters / 3);
    expect(fsdp.memory.states).toBeLessThan(one.memory.states / 3);
    const again = await facts("--recompute");
    expect(again.memory.activations).toBeLessThan(one.memory.activations);
  });

  test("one process writes what it trains in its place; an objective whose batches do not add up is computed whole, and refused on two", async () => {
    const at = deep(
      spec
        .replace("batch = 3\n  accumulate = 2", "batch = 1")
        .replace("sequence  = 16", "sequence = 4")
        .replace("seed      = 7", "params = gpt2"),
    );
    const { err, events } = await peftc(at, ["plan", "main.peft", "--on", "torch", "--json"]);
    expect(err).toBe("");
    const { memory } = events().find((e) => e.event === "plan_across") as { memory: Record<string, number> };
    expect(memory.gradients).toBeGreaterThan(0.9 * memory.parameters);
    // an update that gives all next values at once makes 17 times the parameters on its way
    expect(memory.activations).toBeLessThan(4 * memory.parameters);

    at.put(
      "squared.peft",
      `import { Linear } from "std/nn"\n${SPEC.replace("attach", "method Squared() on Linear {\n  more = Linear(in_features, out_features, weight: 0, bias: false)\n  y := y + more(x)\n  loss := loss * loss\n}\nattach square = Squared() to gpt2.transformer.h[0].attn.c_attn\nattach")}`,
    );
    const one = await peftc(at, ["plan", "squared.peft", "--on", "torch", "--json"]);
    expect([one.code, one.err]).toEqual([0, ""]);
    const two = await peftc(at, ["plan", "squared.peft", "--on", "torch", "--processes", "2", "--json"]);
    expect([two.code, /P0811/.test(two.err + two.out)]).toEqual([1, true]);
  });

  test("a base in 4 bits is kept as codes, a seventh of it, and not as what they were made of", async () => {
    const at = deep(
      `import { NF4 } from "std/methods/lora"\nimport { Linear } from "std/nn"\n${spec.replace("attach lora", "attach four = NF4() to gpt2.transformer.h[*].**: Linear\nattach lora")}`,
    );
    const parameters = async (file: string) => {
      const { err, events } = await peftc(at, ["plan", file, "--on", "torch", "--json"]);
      expect(err).toBe("");
      return (events().find((e) => e.event === "plan_across") as { memory: { parameters: number } }).memory.parameters;
    };
    at.put("plain.peft", spec);
    // two layers of 12 · 16² weights: 4 bits and a scale for 64 of them in place of 32 bits
    const weights = 4 * 2 * 12 * 16 ** 2;
    expect((await parameters("plain.peft")) - (await parameters("main.peft"))).toBe(weights - weights / 8 - weights / 64);
    expect((await peftc(at, ["build", "main.peft", "--target", "torch", "-o", "four"])).code).toBe(0);
    expect(at.get("four/prepare.py")).toMatch(/states\[f"\{name\}_codes"\] = /);
    expect(at.get("four/model.py")).not.toMatch(/ops\.quantise/);
  });

  test("what belongs to --on is refused without it, and so are other places and ways", async () => {
    const at = deep(spec);
    for (const [args, says] of [
      [["train", "main.peft", "--processes", "2"], /--processes is for --on torch/],
      [["train", "main.peft", "--on", "paper"], /there is no such place/],
      [["plan", "main.peft", "--on", "torch", "--shard", "all"], /the ways are: ddp, fsdp/],
      [["train", "main.peft", "--on", "torch", "--dtype", "f64"], /the types are: f32, bf16/],
      [["train", "main.peft", "--on", "torch", "--device", "wasm"], /give one of them/],
      [["train", "main.peft", "--on", "torch", "--node", "1"], /--node and --rendezvous belong together/],
      [["train", "main.peft", "--on", "torch", "--nodes", "2", "--node", "2", "--rendezvous", "h:1"], /numbered from 0 to 1/],
      [["train", "main.peft", "--on", "torch", "--nodes", "2", "--node", "1", "--rendezvous", "h"], /an address of machine 0 and a port/],
      [["build", "main.peft", "--target", "tpu", "-o", "x"], /there is no such target/],
    ] as const) {
      const { code, err } = await peftc(at, args);
      expect([args.join(" "), code, says.test(err) ? "said" : err]).toEqual([args.join(" "), 2, "said"]);
    }
  });

  test("--nodes alone prints the command that each machine runs", async () => {
    const at = deep(spec);
    const { code, out } = await peftc(at, ["train", "main.peft", "--on", "torch", "--nodes", "2", "--processes", "4", "--shard", "fsdp"]);
    expect(code).toBe(0);
    expect(out).toContain("peftc train main.peft --on torch --nodes 2 --processes 4 --shard fsdp --node N --rendezvous HOST:29500\n");
    expect(out).toMatch(/srun --nodes 2 --ntasks-per-node 1 bash -c 'peftc train .* --node \$SLURM_NODEID /);
    const { events } = await peftc(at, ["plan", "main.peft", "--on", "torch", "--nodes", "2", "--processes", "4", "--json"]);
    expect(events().find((e) => e.event === "plan_across")?.processes).toBe(8);
  });

  test("`memory` asks for layers to be recomputed, or says what it would take; `reverse` is refused", async () => {
    const at = deep(spec);
    const planned = async (memory: number) => {
      const { events } = await peftc(at, ["plan", "main.peft", "--on", "torch", "--json", "--set", `train.memory=${memory}`]);
      return events().find((e) => e.event === "plan_across") as { memory: { total: number }; recompute: boolean; smallest?: number };
    };
    const usual = await planned(1e9);
    const bounded = await peftc(at, ["plan", "main.peft", "--on", "torch", "--json", "--memory", String(usual.memory.total - 1)]);
    expect(bounded.events().find((e) => e.event === "plan_across")?.recompute).toBe(true);
    expect([usual.recompute, usual.smallest]).toEqual([false, undefined]);
    const less = await planned(usual.memory.total - 1);
    expect([less.recompute, less.smallest]).toEqual([true, undefined]);
    expect(less.memory.total).toBeLessThan(usual.memory.total);
    expect((await planned(less.memory.total - 1)).smallest).toBe(less.memory.total);
    for (const verb of [
      ["plan", "main.peft", "--on", "torch"],
      ["build", "main.peft", "--target", "torch", "-o", "backwards"],
    ]) {
      const { code, err } = await peftc(at, [...verb, "--set", 'train.reverse="exact"']);
      expect([code, /`reverse = "exact"` runs loops backwards, which PyTorch does not/.test(err) ? "said" : err]).toEqual([1, "said"]);
    }
  });

  torchTest("--recompute computes layers once more, --compile hands them to the compiler", async () => {
    const { path: python } = await requirePython();
    const at = deep(spec);
    expect((await peftc(at, ["build", "main.peft", "--target", "torch", "-o", "built"])).code).toBe(0);
    const { stdout, stderr } = spawnSync(python, [path.join(import.meta.dirname, "options.py"), path.join(at.folder, "built")], {
      encoding: "utf8",
    });
    const last = stdout.trim().split("\n").at(-1)!;
    // two layers of two norms each, and the last one
    expect(last === "" ? stderr : JSON.parse(last)).toEqual({ none: [5, 0], recompute: [9, 0], compile: [0, 2] });
  });

  torchTest("a built folder trains on two processes as a run here does, and collectives are given what the plan says", async () => {
    const python = await requirePython();
    const at = deep(spec);
    expect((await peftc(at, ["train", "main.peft", "--device", "wasm", "--output", "here"])).code).toBe(0);
    const here = openSafetensors(at.files, "here/checkpoint-6/parameters.safetensors");
    expect((await peftc(at, ["build", "main.peft", "--target", "torch", "-o", "built"])).code).toBe(0);
    const ways = ["ddp", "fsdp"];
    const launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", path.join(import.meta.dirname, "counted.py")];
    const { status, stderr } = spawnSync(python.path, [...launch, path.join(at.folder, "built"), at.folder, ...ways], {
      encoding: "utf8",
      env: { ...process.env, OMP_NUM_THREADS: "1" },
      timeout: 240_000,
    });
    expect([status, status === 0 ? "" : stderr]).toEqual([0, ""]);
    for (const shard of ways) {
      const there = openSafetensors(at.files, `${shard}/trained.safetensors`);
      for (const name of here.tensors.keys()) {
        const [a, b] = [here.read(name), there.read(name)];
        const scale = Math.max(1e-3, ...Array.from(a, Math.abs));
        expect([name, Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i]))) / scale < 1e-4]).toEqual([name, true]);
      }
      const { events } = await peftc(at, ["plan", "main.peft", "--on", "torch", "--processes", "2", "--shard", shard, "--json"]);
      const { collectives } = events().find((e) => e.event === "plan_across") as { collectives: Record<string, number> };
      expect([shard, JSON.parse(at.get(`${shard}/counted.json`))]).toEqual([shard, collectives]);
    }
  });
});
