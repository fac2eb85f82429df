/** Faults of the disk drawn for a while: `npm run simulate -- 7200` for two hours; without a number one. */
import { spawnSync } from "node:child_process";

const seconds = Number(process.argv[2] ?? 3600);
if (!(seconds > 0)) throw new Error("seconds are wanted: npm run simulate -- 7200");
const jest = ["--experimental-vm-modules", "--no-warnings", "node_modules/jest/bin/jest.js", "test/train/simulate", "-w", "1"];
const { status } = spawnSync(process.execPath, jest, { stdio: "inherit", env: { ...process.env, PEFTC_SIMULATE: String(seconds) } });
process.exitCode = status ?? 1;
