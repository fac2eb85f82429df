/** A hub that lies, leaks, stalls or breaks off: files are made in the cache only, the token goes to the hub alone, and nothing is waited for without an end. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, expect, test } from "@jest/globals";
import { cachedPath, fetchSource, hubSettings } from "../../src/node/hub.ts";
import { LONGEST_ANSWER } from "../../src/node/hub-http.ts";
import { isInside, parseSource } from "../../src/node/hub-names.ts";
import { fakeHub, gitName, type Twist } from "../support/hub.ts";

const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A hub with one data file, and a cache; `twist` answers in its place. */
async function place(content: Uint8Array | string, twist?: Twist, name = "x.txt", patience = 30) {
  const hub = await fakeHub({ "datasets/o/n": { files: { [name]: content } } }, twist);
  closing.push(() => hub.close());
  const above = mkdtempSync(path.join(tmpdir(), "peftc-hub-"));
  const cache = path.join(above, "cache", "hub");
  const settings = { ...hubSettings({}), cache, endpoint: hub.url, token: "hf_own", patience, answers: 50 };
  const told: number[] = [];
  const get = (source = `hf://datasets/o/n/${name}`) =>
    fetchSource(source, ({ done }) => told.push(done), settings).then(
      () => undefined,
      (error: unknown) => error as { code: string; message: string; notes: readonly string[] },
    );
  const read = (source = `hf://datasets/o/n/${name}`) => readFileSync(cachedPath(source, settings), "utf8");
  /** Every file below the folder that the cache lies in. */
  const made = () =>
    (
      readdirSync(above, { recursive: true, withFileTypes: true }) as {
        name: string;
        parentPath?: string;
        path: string;
        isDirectory(): boolean;
      }[]
    )
      .filter((e) => !e.isDirectory())
      .map((e) => path.relative(cache, path.join(e.parentPath ?? e.path, e.name)));
  return { hub, cache, above, get, read, made, told };
}

/** Another host, which writes down what it is told. */
async function other(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const tokens: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    tokens.push(request.headers.authorization);
    answer(request, response);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, tokens };
}

const tree =
  (entries: readonly object[], headers: Record<string, string> = {}): Twist =>
  (url, _, response) => {
    if (!url.pathname.includes("/tree/")) return false;
    response.writeHead(200, { "Content-Type": "application/json", ...headers });
    response.end(JSON.stringify(entries));
    return true;
  };

test("names that a program writes stay inside", () => {
  for (const source of [
    "hf://../x",
    "hf://a/..",
    "hf://a/.",
    "hf://a--b/c",
    "hf://a/b@..%2F..%2Fx",
    "hf://a/b@%2Fetc",
    "hf://a/b@%",
    "hf://datasets/a/b/../../x",
    "hf://datasets/a/b//x",
    "hf://datasets/a/b/x\\..\\y",
    "hf://datasets/a/b/C:/x",
    "hf://datasets/a/b/x\0y",
    "hf://datasets/a/b/x\ny",
  ])
    expect(() => parseSource(source)).toThrow(expect.objectContaining({ code: "P0676" }));
  expect(isInside("a/b.txt")).toBe(true);
});

test.each([
  "../../../out.txt",
  "/tmp/out.txt",
  "a/../../../../datasets--o--name-other/snapshots/x",
  "..",
  ".",
  "a\\..\\..\\b",
  "a//b",
  "a\u0000b",
  "C:x",
])("a listing that names %j makes no file", async (name) => {
  const { get, made } = await place("yes", tree([{ type: "file", path: name, size: 3, oid: gitName("yes") }]));
  expect(await get("hf://datasets/o/n")).toMatchObject({ code: "P0677", message: expect.stringContaining("cannot be") });
  expect(made()).toEqual([]);
});

test("a commit, a blob or a size that is none is refused", async () => {
  const commit: Twist = (url, _, response) => {
    if (!url.pathname.includes("/revision/")) return false;
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ _id: "1", id: "o/n", sha: "../../../x", lastModified: "2026-01-01T00:00:00Z" }));
    return true;
  };
  const file = { type: "file", path: "x.txt", size: 3, oid: gitName("yes") };
  for (const twist of [
    commit,
    tree([{ ...file, oid: "../x" }]),
    tree([{ ...file, lfs: { oid: "../../x", size: 3 } }]),
    tree([{ ...file, size: -1 }]),
    tree([{ ...file, size: 1e300 }]),
    tree([{ ...file, path: 7 }]),
    tree([null as unknown as object]),
  ]) {
    const { get, made } = await place("yes", twist);
    expect(await get()).toMatchObject({ code: "P0677" });
    expect(made()).toEqual([]);
  }
});

test("a reference in the cache that is no commit is not followed", async () => {
  const { cache, above } = await place("yes");
  const folder = path.join(cache, "datasets--o--n");
  for (const name of ["refs", "snapshots"]) mkdirSync(path.join(folder, name), { recursive: true });
  writeFileSync(path.join(folder, "refs", "main"), "../../../..");
  writeFileSync(path.join(above, "x.txt"), "out");
  expect(() => cachedPath("hf://datasets/o/n/x.txt", { ...hubSettings({}), cache })).toThrow(expect.objectContaining({ code: "P0678" }));
});

test("the token is for the hub alone: not for hosts that files, redirects, pages and headers name", async () => {
  const cdn = await other((_, response) => response.end("yes"));
  const sent: (string | undefined)[] = [];
  const moved = await place("yes", (url, request, response) => {
    sent.push(request.headers.authorization);
    if (!url.pathname.includes("/resolve/")) return false;
    response.writeHead(302, {
      Location: `${cdn.url}/cdn-lfs.huggingface.co/x`,
      Link: `<${cdn.url}/auth>; rel="xet-auth", <${cdn.url}/info>; rel="xet-reconstruction-info"`,
      "X-Xet-Hash": "b".repeat(64),
    });
    response.end();
    return true;
  });
  expect(await moved.get()).toBeUndefined();
  expect(moved.read()).toBe("yes");
  expect(sent.every((token) => token === "Bearer hf_own")).toBe(true);
  expect(cdn.tokens).toEqual([undefined]);

  const next = await place("yes", tree([], { Link: `<${cdn.url}/tree>; rel="next"` }));
  expect(await next.get()).toMatchObject({ code: "P0677", message: expect.stringContaining("not the hub") });
  const api = await place("yes", (url, _, response) => {
    if (!url.pathname.startsWith("/api/")) return false;
    response.writeHead(307, { Location: `${cdn.url}${url.pathname}` });
    response.end();
    return true;
  });
  expect(await api.get()).toMatchObject({ code: "P0677", message: expect.stringContaining("not the hub") });
  expect(cdn.tokens).toHaveLength(1);
});

test("redirects without an end, and to what is no web page, end", async () => {
  for (const to of ["/api/again", "file:///etc/passwd", "http://["]) {
    const { get } = await place("yes", (url, _, response) => {
      if (!url.pathname.includes("/resolve/") && !url.pathname.endsWith("/again")) return false;
      response.writeHead(302, { Location: to });
      response.end();
      return true;
    });
    expect(await get()).toMatchObject({ code: "P0677" });
  }
});

test("a hub that says nothing, before or in the middle, is given up", async () => {
  for (const silent of ["/revision/", "/tree/", "/resolve/"]) {
    const { get } = await place(
      "yes",
      (url, _, response) => {
        if (!url.pathname.includes(silent)) return false;
        if (silent === "/tree/") {
          response.writeHead(200, { "Content-Type": "application/json" });
          response.write("[");
        }
        return true;
      },
      "x.txt",
      0.3,
    );
    expect(await get()).toMatchObject({ code: "P0678", notes: [expect.stringContaining("says nothing for 0.3 s"), expect.anything()] });
  }
}, 30_000);

test("listings are bounded: pages, bytes, and bytes after decompression", async () => {
  let pages = 0;
  const endless = await place("yes", (url, request, response) => {
    if (!url.pathname.includes("/tree/")) return false;
    pages++;
    const link = `<http://${request.headers.host}${url.pathname}?cursor=${pages}>; rel="next"`;
    return tree([], { Link: link })(url, request, response);
  });
  expect(await endless.get()).toMatchObject({ code: "P0677", message: expect.stringContaining("does not come to an end") });
  expect(pages).toBeLessThanOrEqual(50);

  const bomb = gzipSync(Buffer.alloc(LONGEST_ANSWER + 1000, " "));
  expect(bomb.length).toBeLessThan(LONGEST_ANSWER / 500);
  const packed = await place("yes", (url, _, response) => {
    if (!url.pathname.includes("/tree/")) return false;
    response.writeHead(200, { "Content-Type": "application/json", "Content-Encoding": "gzip" });
    response.end(bomb);
    return true;
  });
  expect(await packed.get()).toMatchObject({ code: "P0677", message: expect.stringContaining(`more than ${LONGEST_ANSWER} bytes`) });
}, 30_000);

test("something else than JSON where a listing is wanted", async () => {
  for (const body of ["<html>", "{}", "null", "[[]]"]) {
    const { get } = await place("yes", (url, _, response) => {
      if (!url.pathname.includes("/tree/")) return false;
      response.end(body);
      return true;
    });
    expect((await get())?.code).toBe("P0677");
  }
});

test.each(["x.txt", "x.safetensors"])("%s: other bytes than the listing says are thrown away", async (name) => {
  const { get, made } = await place(
    "right",
    (url, _, response) => {
      if (!url.pathname.includes("/resolve/")) return false;
      response.end("wrong");
      return true;
    },
    name,
  );
  expect(await get()).toMatchObject({ code: "P0677", message: expect.stringContaining("other bytes") });
  expect(made()).toEqual([]);
});

test("a file that goes on after its end is cut off and thrown away", async () => {
  const { get, made } = await place("yes", (url, _, response) => {
    if (!url.pathname.includes("/resolve/")) return false;
    const more = setInterval(() => response.write("more and more"), 1);
    response.on("close", () => clearInterval(more));
    return true;
  });
  expect(await get()).toMatchObject({ code: "P0677", message: expect.stringContaining("goes on after its 3 bytes") });
  expect(made()).toEqual([]);
});

/** Breaks off after `pieces` bytes each time; `ranges`: what was asked for. */
function breaking(content: Uint8Array, pieces: number, ranges: (string | undefined)[], most = Number.POSITIVE_INFINITY): Twist {
  return (url, request, response) => {
    if (!url.pathname.includes("/resolve/")) return false;
    ranges.push(request.headers.range);
    const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (ranges.length > most) {
      response.destroy();
      return true;
    }
    response.writeHead(from > 0 ? 206 : 200, {
      "Content-Length": content.length - from,
      ...(from > 0 && { "Content-Range": `bytes ${from}-${content.length - 1}/${content.length}` }),
    });
    response.write(content.subarray(from, from + pieces), () => {
      if (from + pieces >= content.length) response.end();
      else setTimeout(() => response.destroy(), 20);
    });
    return true;
  };
}

test("what breaks off is gone on with where it broke off, in this run and in the next", async () => {
  const content = Buffer.from(Array.from({ length: 3000 }, (_, i) => i % 251));
  const ranges: (string | undefined)[] = [];
  const once = await place(content, breaking(content, 1000, ranges));
  expect(await once.get()).toBeUndefined();
  expect(ranges).toEqual([undefined, "bytes=1000-", "bytes=2000-"]);

  const later: (string | undefined)[] = [];
  let most = 1;
  const twice = await place(content, (url, request, response) => breaking(content, 1000, later, most)(url, request, response));
  expect(await twice.get()).toMatchObject({ code: "P0678" });
  expect(twice.made()).toEqual([expect.stringMatching(/blobs\/[0-9a-f]{40}\..*incomplete$/)]);
  most = Number.POSITIVE_INFINITY;
  const before = later.length;
  expect(await twice.get()).toBeUndefined();
  expect(later.slice(before)[0]).toBe("bytes=1000-");
  expect(twice.made().filter((f) => f.endsWith(".incomplete"))).toEqual([]);
}, 30_000);

test("what a process that is gone left is taken over, what a living one writes is not; damaged beginnings are found out", async () => {
  const content = Buffer.from("0123456789");
  const ranges: (string | undefined)[] = [];
  const { get, cache, read } = await place(content, breaking(content, 1000, ranges));
  const blobs = path.join(cache, "datasets--o--n", "blobs");
  mkdirSync(blobs, { recursive: true });
  const left = (pid: number, bytes: string) =>
    writeFileSync(path.join(blobs, `${gitName(content)}.${hostname()}.${pid}.incomplete`), bytes);
  left(process.ppid, "living");
  left(2 ** 30, "0123");
  expect(await get()).toBeUndefined();
  expect(ranges).toEqual(["bytes=4-"]);
  expect(read()).toBe("0123456789");
  expect(existsSync(path.join(blobs, `${gitName(content)}.${hostname()}.${process.ppid}.incomplete`))).toBe(true);

  const damaged = await place(content, breaking(content, 1000, []));
  const at = path.join(damaged.cache, "datasets--o--n", "blobs");
  mkdirSync(at, { recursive: true });
  writeFileSync(path.join(at, `${gitName(content)}.${hostname()}.${2 ** 30}.incomplete`), "0xxx");
  expect(await damaged.get()).toMatchObject({ code: "P0677", message: expect.stringContaining("other bytes") });
  expect(await damaged.get()).toBeUndefined();
});

test("sums of large files are SHA-256", async () => {
  const content = Buffer.from("weights");
  const { get, cache } = await place(content, undefined, "x.safetensors");
  expect(await get("hf://datasets/o/n/x.safetensors")).toBeUndefined();
  expect(readdirSync(path.join(cache, "datasets--o--n", "blobs"))).toEqual([createHash("sha256").update(content).digest("hex")]);
});

test("a revision in the cache is read where the hub breaks down", async () => {
  let down = false;
  const { get, read } = await place("yes", (_, __, response) => {
    if (down) response.destroy();
    return down;
  });
  expect(await get()).toBeUndefined();
  down = true;
  expect(await get()).toBeUndefined();
  expect(read()).toBe("yes");
});
