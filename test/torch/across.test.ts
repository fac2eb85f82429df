/** What `plan --on torch` says, and what the command line refuses. */
import { describe, expect, test } from "@jest/globals";
import { type Place, peftc, place, SPEC } from "../cli/support.ts";
import { writeTinyModel } from "../cli/tiny-model.ts";

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

  test("what belongs to --on is refused without it, and so are other places and ways", async () => {
    const at = deep(spec);
    for (const [args, says] of [
      [["train", "main.peft", "--processes", "2"], /--processes is for --on torch/],
      [["train", "main.peft", "--on", "paper"], /there is no such place/],
      [["plan", "main.peft", "--on", "torch", "--shard", "all"], /the ways are: ddp, fsdp/],
      [["train", "main.peft", "--on", "torch", "--dtype", "f64"], /the types are: f32, bf16/],
      [["train", "main.peft", "--on", "torch", "--device", "wasm"], /give one of them/],
      [["build", "main.peft", "--target", "tpu", "-o", "x"], /there is no such target/],
    ] as const) {
      const { code, err } = await peftc(at, args);
      expect([args.join(" "), code, says.test(err) ? "said" : err]).toEqual([args.join(" "), 2, "said"]);
    }
  });
});
