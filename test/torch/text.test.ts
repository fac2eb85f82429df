/** What the printed program of one's own method on rotary positions reads like, and that it trains as a run here does. */
import { cpSync, readFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, test } from "@jest/globals";
import { type Place, peftc, place } from "../cli/support.ts";
import { torchTest } from "./support.ts";

const EXAMPLES = path.resolve(import.meta.dirname, "../../specs/examples");
/** 37 lines of the corpus in batches of 4: the last batch is shorter. */
const SPEC = readFileSync(path.join(EXAMPLES, "own_method.peft"), "utf8")
  .replace("data/corpus.txt", "corpus.txt")
  .replace("sequence  = 64", "sequence = 16")
  .replace("steps     = 100", "steps = 4\n  checkpoint = { every: 4 }\n  seed = 3");

describe("one's own method on rotary positions", () => {
  let at: Place;
  const text = (name: string) => at.get(`built/${name}`);
  const count = (name: string, part: string | RegExp) => text(name).split(part).length - 1;
  beforeAll(async () => {
    at = place(SPEC);
    cpSync(path.join(EXAMPLES, "models/tiny-llama"), path.join(at.folder, "models/tiny-llama"), { recursive: true });
    const { code, err } = await peftc(at, ["build", "main.peft", "--target", "torch", "-o", "built"]);
    expect([code, err]).toEqual([0, ""]);
  });

  test("angles of positions are computed once, for one row, and handed to all layers", () => {
    expect(count("objective.py", "torch.cos(")).toBe(1);
    expect(text("objective.py")).toMatch(/def tables\(self, x, s\):[\s\S]*"tables\/cos": torch\.cos\(/);
    expect(text("objective.py")).toMatch(/cos = s\["tables\/cos"\]\.expand\(\(B, /);
    expect(text("model.py")).not.toMatch(/torch\.(cos|sin|pow|arange)/);
  });

  test("each rewrite on the way is shown, as passes to kernels are", async () => {
    const shown = async (...args: readonly string[]) => await peftc(at, ["build", "main.peft", ...args]);
    const behind = async (pass: string) => (await shown("--target", "torch", "--print", pass, "--stop-after", pass)).out;
    // angles are made for all rows, then for one, then by a function of their own
    expect(await behind("inner")).toMatch(/= cos\(%\d+\) : f32\[B, /);
    expect(await behind("one_row")).toMatch(/= cos\(%\d+\) : f32\[1, /);
    const once = await behind("once");
    const part = (name: string) => once.split(`--- after once of ${name}\n`)[1].split("--- after")[0];
    expect(part("gradients")).not.toContain("cos(");
    expect(part("tables")).toContain("cos(");
    expect(await shown("--print", "one_row")).toMatchObject({
      code: 2,
      err: expect.stringContaining("graphs for kernels do not go through the pass one_row"),
    });
    expect((await shown("--target", "torch", "--print", "products")).err).toContain(
      "graphs for PyTorch do not go through the pass products",
    );
  });

  test("what several layers are given has a name, and numbers are numbers", () => {
    // the mask, which every layer reads
    expect(count("objective.py", '& x["attention_mask"]') + count("objective.py", "& attention_mask")).toBe(1);
    for (const name of ["model.py", "objective.py", "update.py"])
      expect([name, text(name).match(/float\(\d+\)|\b1\.0 \*|\b0\.0 \+/)]).toEqual([name, null]);
  });

  test("an update whose loss sums over sites is still a loop over names", () => {
    expect(count("update.py", "for name in ")).toBe(2);
    expect(text("update.py")).toMatch(/\n {8}w\.copy_\(w_2\)/);
    expect(text("update.py").split("\n").length).toBeLessThan(120);
  });

  torchTest("trains on one process and on two, with parameters whole and in parts, as a run here does", async () => {
    const losses = async (...where: string[]) => {
      const { code, err, events } = await peftc(at, ["train", "main.peft", "--json", "--output", `out-${where.join("")}`, ...where]);
      expect([where, code, code === 0 ? "" : err]).toEqual([where, 0, ""]);
      return events().flatMap((e) => (e.event === "step" ? [e.loss as number] : []));
    };
    const here = await losses("--device", "wasm");
    for (const way of [
      ["--processes", "1"],
      ["--processes", "2", "--shard", "fsdp"],
    ]) {
      const there = await losses("--on", "torch", ...way);
      expect(there.length).toBe(4);
      there.forEach((loss, i) => expect([way, i, Math.abs(loss / here[i] - 1) < 1e-5 ? "near" : loss - here[i]]).toEqual([way, i, "near"]));
    }
  });
});
