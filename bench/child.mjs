/** Trains a folder of random weights in a process of its own, as a user would, and says what was seen of it. Linux only: what is resident is read of /proc. */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const at = (path) => fileURLToPath(new URL(path, import.meta.url));
export const cli = at("../dist/src/cli/main.js");
/** Where folders of weights lie; they are made once. */
export const home = process.env.PEFTC_BENCH ?? join(tmpdir(), "peftc-bench");
export const mb = (bytes, digits = 0) => (bytes / 1e6).toFixed(digits);

/** The folder of a shape of `random.mjs`. */
export function folderOf(shape) {
  const folder = join(home, shape);
  if (!existsSync(join(folder, "model.safetensors"))) {
    mkdirSync(folder, { recursive: true });
    execFileSync(process.execPath, [at("random.mjs"), shape, folder], { stdio: "inherit" });
  }
  return folder;
}

/** The most bytes of a process that were resident. */
const resident = (pid) => {
  const status = execFileSync("cat", [`/proc/${pid}/status`], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
};

export const settings = (set) => Object.entries(set).flatMap(([key, value]) => ["--set", `${key}=${value}`]);

/**
 * Bytes planned and allocated, the most that was resident (`most`), losses, and milliseconds between steps (`ms`, without the first).
 * Throws where the run does not end well.
 */
export function trained(file, { set = {}, output } = {}) {
  return new Promise((resolve, reject) => {
    const more = [...settings(set), ...(output === undefined ? [] : ["--output", output, "--force"])];
    const child = spawn(process.execPath, [cli, "train", file, "--device", "wasm", "--json", ...more], {
      cwd: home,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const seen = { planned: 0, allocated: 0, most: 0, loss: [], ms: [] };
    const look = () => {
      try {
        seen.most = Math.max(seen.most, resident(child.pid));
      } catch {
        // it has ended
      }
    };
    const timer = setInterval(look, 200);
    let before;
    createInterface({ input: child.stdout }).on("line", (text) => {
      const now = performance.now();
      const event = JSON.parse(text);
      look();
      if (event.event === "plan") seen.planned = Math.max(seen.planned, event.peak_bytes);
      if (event.event !== "step") return;
      if (before !== undefined) seen.ms.push(now - before);
      before = now;
      seen.allocated = event.peak_bytes;
      seen.loss.push(event.loss);
    });
    child.on("exit", (code) => {
      clearInterval(timer);
      if (code === 0) resolve(seen);
      else reject(new Error(`${file} ended with ${code}`));
    });
  });
}

/** Whether two adapters have equal bits, else how far they are from each other as a share of the largest number. */
export function apart(one, other) {
  if (one.equals(other)) return "equal bits";
  const numbers = (file) => {
    const start = 8 + Number(file.readBigUInt64LE(0));
    return new Float32Array(file.buffer.slice(file.byteOffset + start, file.byteOffset + file.length));
  };
  const [x, y] = [numbers(one), numbers(other)];
  const size = x.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  return `${(x.reduce((most, v, i) => Math.max(most, Math.abs(v - y[i])), 0) / size).toExponential(1)} apart`;
}
