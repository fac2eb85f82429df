import { expect, test } from "@jest/globals";
import { runInChromium } from "../support/chromium.ts";

test("a page is cross-origin isolated and has a WebGPU adapter", async () => {
  const script = `export default async () => {
    const adapter = await navigator.gpu.requestAdapter();
    return { isolated: crossOriginIsolated, shared: typeof SharedArrayBuffer, adapter: adapter !== null };
  }`;
  expect(await runInChromium({}, script)).toEqual({ isolated: true, shared: "function", adapter: true });
});

test("an error in the page is an error of the test, with what the page printed", async () => {
  const script = `export default async () => { console.log("before"); throw new Error("no such thing"); }`;
  await expect(runInChromium({}, script)).rejects.toThrow(/no such thing[\s\S]*before/);
});

test("without the headers a page has no shared memory", async () => {
  expect(await runInChromium({}, "export default async () => typeof SharedArrayBuffer", { isolated: false })).toBe("undefined");
});
