/**
 * The golden vectors of published libraries: every case of a folder's `manifest.json` on one device.
 *
 * `PEFTC_GOLDEN`: the folder, by default this one. `PEFTC_DEVICE`: wasm (default), native, webgpu, reference or torch. `PEFTC_GOLDEN_REPORT`: a file for
 * `{"passed": [...], "failed": [...], "unsupported": [...]}`. `PEFTC_WITHOUT`: optional passes that are left out, separated by commas. What the language or its library does not have is reported as unsupported, with the reason.
 */
import { writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { passesTo } from "../../src/backends/lowering.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { type DeviceChoice, openEngine } from "../../src/node/engine.ts";
import { NodeFiles } from "../../src/node/files.ts";
import type { Engine } from "../../src/train/engine/engine.ts";
import { runCase } from "../support/golden/case.ts";
import { readManifest, Unsupported } from "../support/golden/manifest.ts";
import { loadVulkan } from "../support/swiftshader.ts";

const here = dirname(fileURLToPath(import.meta.url));
const given = process.env.PEFTC_GOLDEN;
const goldens = readManifest(given === undefined ? here : resolve(given));
const library = resolve(here, "../../specs");
const device = (process.env.PEFTC_DEVICE ?? "wasm") as DeviceChoice;
const without = process.env.PEFTC_WITHOUT?.split(",");
const report = { passed: [] as string[], failed: [] as string[], unsupported: [] as string[] };
const reasons: string[] = [];

describe(`goldens on ${device}`, () => {
  let engine: Engine;
  const files = new NodeFiles("/");
  const mappings = readMappings(files, join(library, "std/methods"), join(library, "std/models"));
  beforeAll(async () => {
    if (device === "webgpu") loadVulkan();
    engine = await openEngine(device, without && { without });
  });

  for (const one of goldens.cases) {
    test(one.name, async () => {
      let problems: string[];
      try {
        problems = await runCase({ goldens, files, engine, library, mappings }, one);
      } catch (error) {
        if (error instanceof Unsupported) {
          report.unsupported.push(one.name);
          reasons.push(`${one.name}: ${error.message.split("\n")[0]}`);
          // the repository's own cases are those that must run
          if (given === undefined) throw error;
          return;
        }
        report.failed.push(one.name);
        throw error;
      }
      (problems.length === 0 ? report.passed : report.failed).push(one.name);
      expect(problems).toEqual([]);
    }, 600_000);
  }

  // all cases at once: PEFTC_WITHOUT
  const [small] = goldens.cases.filter((c) => c.kind === "peft");
  const optional = new Set(passesTo(device === "torch" ? "torch" : "kernels").flatMap((p) => (p.optional ? [p.name] : [])));
  if (small && device !== "reference" && without === undefined)
    test.each([...optional])("without the pass %s", async (pass) => {
      const engine = await openEngine(device, { without: [pass] });
      expect(await runCase({ goldens, files, engine, library, mappings }, small)).toEqual([]);
    });

  afterAll(async () => {
    await engine.close?.();
    const { passed, failed, unsupported } = report;
    const lines = [
      `goldens on ${device}: ${passed.length} passed, ${failed.length} failed, ${unsupported.length} unsupported`,
      ...(failed.length > 0 ? [`failed: ${failed.join(", ")}`] : []),
      ...(reasons.length > 0 ? ["unsupported:", ...reasons.map((r) => `  ${r}`)] : []),
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
    if (process.env.PEFTC_GOLDEN_REPORT) writeFileSync(process.env.PEFTC_GOLDEN_REPORT, `${JSON.stringify(report)}\n`);
  });
});
