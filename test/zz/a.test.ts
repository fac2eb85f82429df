import { test } from "@jest/globals";
test("x", async () => { const t=process.cpuUsage().user; await import("../../src/index.ts"); await import("../../src/node/workspace.ts"); console.log("load", (process.cpuUsage().user-t)/1000); });
