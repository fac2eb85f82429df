/**
 * What each optional pass is worth: planned peak and time of a LoRA step with the pass left out, beside the whole list, on two shapes. Steps run in
 * turn, in one process; the first losses must agree. `node bench/passes.mjs [--plan]`, behind `npm run build`.
 */

import { passes } from "../dist/src/backends/lowering.js";
import { openEngine } from "../dist/src/node/engine.js";
import { memoryOf } from "../dist/src/train/engine/budget.js";
import { median, openStep } from "./step.mjs";

const SHAPES = {
  "4 layers, d 256, V 8192, 4×128": { layers: 4, width: 256, heads: 4, vocabulary: 8192, sequence: 128, batch: 4 },
  "12 layers, d 768, V 50257, 1×128": { layers: 12, width: 768, heads: 12, vocabulary: 50257, sequence: 128, batch: 1 },
};
const [WARM, RUNS] = [2, 7];
const optional = [...new Set(passes.filter((p) => p.optional).map((p) => p.name))];
const planOnly = process.argv.includes("--plan");

for (const [name, shape] of Object.entries(SHAPES)) {
  console.log(name);
  const whole = await openStep(await openEngine("wasm"), shape, 1e-3, true, true);
  const [bytes] = [memoryOf(whole.built.program).total];
  console.log(`  ${"all passes".padEnd(12)} peak ${(bytes / 1e6).toFixed(1).padStart(8)} MB`);
  const losses = [];
  for (let i = 0; i < WARM; i++) losses.push(await whole.run());
  for (const pass of optional) {
    const other = await openStep(await openEngine("wasm", { without: [pass] }), shape, 1e-3, true, true);
    const peak = memoryOf(other.built.program).total;
    let line = `  ${`no ${pass}`.padEnd(12)} peak ${(peak / 1e6).toFixed(1).padStart(8)} MB (${(peak / bytes).toFixed(2)} times)`;
    if (!planOnly) {
      for (let i = 0; i < WARM; i++) {
        const loss = await other.run();
        if (!(Math.abs(loss - losses[i]) < 1e-4)) throw new Error(`without ${pass} the loss of step ${i} is ${loss}, not ${losses[i]}`);
      }
      const times = [[], []];
      for (let i = 0; i < RUNS; i++)
        for (const [k, { run }] of [whole, other].entries()) {
          const start = performance.now();
          await run();
          times[k].push(performance.now() - start);
        }
      const [with_, without] = times.map(median);
      line += `, step ${without.toFixed(1)} ms beside ${with_.toFixed(1)} (${(without / with_).toFixed(2)} times)`;
    }
    console.log(line);
    await other.session.close();
  }
  await whole.session.close();
}
