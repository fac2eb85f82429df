/** Runs code in a page of the headless Chromium that comes with the development dependencies, WebGPU on its software adapter. */
import { createServer } from "node:http";
import { extname } from "node:path";
import { build } from "esbuild";
import puppeteer from "puppeteer-core";
import { unpackChromium } from "./swiftshader.ts";

const types: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

const page = (imports: Readonly<Record<string, string>>): string =>
  `<!doctype html><title>peftc</title><script type="importmap">${JSON.stringify({ imports })}</script>`;

export interface PageOptions {
  /** Serve the headers that give the page `SharedArrayBuffer`; true unless told. */
  readonly isolated?: boolean;
  /** What bare names in imports stand for: `{ "peftc/runtime": "/runtime.js" }`. */
  readonly imports?: Readonly<Record<string, string>>;
}

/**
 * Serves `files` (path such as `runtime.js` to contents) on a local port, opens a page there and runs `script`: the text of a module whose default
 * export is an async function without arguments, importing the files as `/runtime.js`. Resolves with what that function returns (JSON values);
 * rejects with its error, and with what the page printed.
 */
export async function runInChromium(
  files: Readonly<Record<string, string | Uint8Array>>,
  script: string,
  options: PageOptions = {},
): Promise<unknown> {
  const headers: Record<string, string> =
    options.isolated === false ? {} : { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
  const served: Record<string, string | Uint8Array> = { "": page(options.imports ?? {}), ...files, "test-script.js": script };
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname.slice(1));
    const contents = served[path];
    if (contents === undefined) response.writeHead(404).end();
    else
      response
        .writeHead(200, { "Content-Type": types[extname(path)] ?? (path === "" ? "text/html" : "application/octet-stream"), ...headers })
        .end(contents);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const { executable, libraries } = unpackChromium();
  const browser = await puppeteer.launch({
    executablePath: executable,
    headless: "shell",
    // A loaded machine may take its time.
    timeout: 110_000,
    args: [
      "--no-sandbox",
      "--no-zygote",
      "--in-process-gpu",
      "--disable-dev-shm-usage",
      "--enable-unsafe-webgpu",
      "--use-webgpu-adapter=swiftshader",
    ],
    env: { ...process.env, LD_LIBRARY_PATH: [process.env.LD_LIBRARY_PATH, libraries].filter(Boolean).join(":") },
  });
  const printed: string[] = [];
  try {
    const page = await browser.newPage();
    page.on("console", (message) => printed.push(message.text()));
    page.on("pageerror", (error) => printed.push(String(error)));
    await page.goto(`http://127.0.0.1:${address.port}/`);
    return await page.evaluate(async () => {
      const module = await import("/test-script.js" as string);
      return module.default() as unknown;
    });
  } catch (error) {
    throw new Error([`in the page: ${error instanceof Error ? error.message : String(error)}`, ...printed].join("\n  "));
  } finally {
    await browser.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** One browser-ready module of a source file and all it imports; anything that only Node has makes it fail. */
export async function bundleForPage(entry: string): Promise<string> {
  const result = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    target: "es2022",
    logLevel: "silent",
  });
  return result.outputFiles[0].text;
}
