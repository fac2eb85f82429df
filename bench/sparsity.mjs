/**
 * The time of an MLP, forward and backward, against the share of its activations that are not zero: dense, skipping zeros, and as a session runs
 * it. Names the break-even: the density from which on the dense kernels are the faster ones.
 *
 *   node bench/sparsity.mjs [--device wasm|webgpu|both] [--shape tokens,width,hidden] [--rounds 5]
 */
import { parseArgs } from "node:util";
import { compileProgram } from "../dist/src/backends/compile.js";
import { Builder } from "../dist/src/ir/build.js";
import { markSparse } from "../dist/src/ir/passes/sparse.js";
import { enableRelaxed, startThread } from "../dist/src/node/threads.js";
import { openWasm } from "../dist/src/runtime/wasm.js";

const { values: options } = parseArgs({
  options: {
    device: { type: "string", default: "both" },
    shape: { type: "string", default: "256,768,3072" },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: "1" },
  },
});
const [T, D, F] = options.shape.split(",").map(Number);
const DENSITIES = [1, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01];

/** y = relu(x W1 + t) W2, and of a gradient dy: that of x. `t` is chosen so that a share of the activations is not zero. */
function mlp() {
  const b = new Builder({ path: "mlp" });
  const x = b.input("x", { dtype: "f32", shape: [T, D] });
  const dy = b.input("dy", { dtype: "f32", shape: [T, D] });
  const shift = b.input("shift", { dtype: "f32", shape: [] });
  const [w1, w2] = [b.param("w1", [D, F]), b.param("w2", [F, D])];
  const z = b.add(b.dot(x, w1, { lhsContract: [1], rhsContract: [0] }), b.expand(b.reshape(shift, [1, 1]), [T, F]));
  const h = b.make("max", [z, b.zeros(z.type)]);
  const y = b.dot(h, w2, { lhsContract: [1], rhsContract: [0] });
  const dh = b.mul(b.dot(dy, w2, { lhsContract: [1], rhsContract: [1] }), b.cast(b.make("gt", [z, b.zeros(z.type)]), "f32"));
  const dx = b.dot(dh, w1, { lhsContract: [1], rhsContract: [1] });
  const probe = (name, node) => ({ role: "output", name, node: b.reduce("sum", node, [0, 1]) });
  const results = [probe("y", y), probe("dx", dx)];
  return markSparse({ results }).graph;
}

const normal = (n, deviation, seed) => {
  let s = seed;
  const uniform = () => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    return (s >>> 0) / 2 ** 32;
  };
  return Float32Array.from({ length: n }, () => deviation * Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
};
/** The deviation of the standard normal below which a share of it lies, by bisection. */
function quantile(p) {
  const below = (x) => {
    // Abramowitz & Stegun 7.1.26
    const t = 1 / (1 + 0.3275911 * Math.abs(x / Math.SQRT2));
    const e = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp((-x * x) / 2);
    return x < 0 ? e / 2 : 1 - e / 2;
  };
  let [low, high] = [-8, 8];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (below(middle) < p) low = middle;
    else high = middle;
  }
  return low;
}

/** The program with every choice made: nothing skipped, or all that may be. */
const fixed = (program, skip) => ({
  ...program,
  measures: undefined,
  entries: program.entries.map((e) => ({
    ...e,
    steps: e.steps.map((s) => {
      if (!s.skips) return s;
      const { skips, ...dense } = s;
      return skip ? { ...dense, kernel: skips.kernel, units: skips.units, grid: skips.grid } : dense;
    }),
  })),
});

async function measure(device, compiled, open) {
  const rounds = Number(options.rounds);
  const inputs = { x: normal(T * D, 1, 1), dy: normal(T * D, 1, 2) };
  const weights = { w1: normal(D * F, 1 / Math.sqrt(D), 3), w2: normal(F * D, 1 / Math.sqrt(F), 4) };
  const sessions = {};
  for (const [name, program] of [
    ["dense", fixed(compiled.program, false)],
    ["skipping", fixed(compiled.program, true)],
    ["chosen", compiled.program],
  ]) {
    sessions[name] = await open({ ...compiled, program });
    for (const [key, data] of Object.entries(weights)) await sessions[name].write("param", key, data);
  }
  console.log(`${device}: ${T} tokens, ${D} → ${F} → ${D}, forward and backward, weights frozen; milliseconds, least of ${rounds}`);
  console.log("density    dense   skipping   chosen   runs");
  let above;
  let even;
  for (const density of DENSITIES) {
    const shift = density === 1 ? 100 : -quantile(1 - density);
    const times = { dense: [], skipping: [], chosen: [] };
    for (let round = 0; round <= rounds; round++)
      for (const [name, session] of Object.entries(sessions)) {
        const start = performance.now();
        await session.run("main", { ...inputs, shift });
        if (round > 0) times[name].push(performance.now() - start);
      }
    const [d, s, c] = ["dense", "skipping", "chosen"].map((name) => Math.min(...times[name]));
    const how = sessions.chosen.densities().every((x) => x.skipping) ? "skipping" : "dense";
    const seen = sessions.chosen.densities()[0].density;
    console.log(
      `${(100 * seen).toFixed(1).padStart(6)} % ${d.toFixed(1).padStart(8)} ${s.toFixed(1).padStart(10)} ${c.toFixed(1).padStart(8)}   ${how}`,
    );
    const gain = d - s;
    if (gain > 0 && even === undefined && above) even = above.seen + ((seen - above.seen) * -above.gain) / (gain - above.gain);
    above = { seen, gain };
  }
  console.log(even === undefined ? "break-even: none between these densities" : `break-even: ${(100 * even).toFixed(0)} %`);
  for (const s of Object.values(sessions)) await s.close();
}

if (options.device !== "webgpu") {
  enableRelaxed();
  const workers = Number(options.threads);
  const compiled = await compileProgram([{ name: "main", graph: mlp() }], { target: "wasm", arithmetic: "relaxed", workers });
  await measure(`wasm, ${workers} threads`, compiled, ({ program, module }) => openWasm(program, module, { workers, startThread }));
}
if (options.device !== "wasm") {
  const { dawn } = await import("../dist/src/node/dawn.js");
  const { openDevice, openWebGPU } = await import("../dist/src/runtime/webgpu.js");
  const gpu = await openDevice(await dawn());
  const compiled = await compileProgram([{ name: "main", graph: mlp() }], { target: "webgpu", limits: gpu.limits });
  await measure(`webgpu, ${gpu.name}`, compiled, ({ program }) => openWebGPU(program, gpu));
  await gpu.close();
}
