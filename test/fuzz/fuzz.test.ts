/**
 * Every reader of other people's files on inputs made from sound ones and from what was found before (`test/corpus/fuzz`). It reads or refuses; it throws nothing else, and takes
 * no more than a while. In the suite some inputs of one seed; `npm run fuzz -- SECONDS` draws for longer, and leaves what it finds in a folder that it names.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { Draws, mutated } from "./mutate.ts";
import { isRefusal, type Reader, readers } from "./readers.ts";

const seconds = Number(process.env.PEFTC_FUZZ ?? 0);
/** A run for longer begins elsewhere each time; the number is told, so that it can be had again. */
const seed = Number(process.env.PEFTC_FUZZ_SEED ?? (seconds > 0 ? Date.now() % 2 ** 31 : 20));
/** The input under way, for whoever ends a run that hangs. */
const LAST = process.env.PEFTC_FUZZ_LAST;
/** Processor seconds that no input may take. */
const MOST = 5;
const corpus = path.resolve(import.meta.dirname, "../corpus/fuzz");
const folderOf = (name: string) => path.join(corpus, name.replace(/\W+/g, "_"));
const found = (name: string): Uint8Array[] =>
  existsSync(folderOf(name))
    ? readdirSync(folderOf(name))
        .sort()
        .map((file) => new Uint8Array(readFileSync(path.join(folderOf(name), file))))
    : [];

/** What is wrong with how an input was read; `undefined`: nothing. */
async function judged({ read, refuses }: Reader, input: Uint8Array): Promise<string | undefined> {
  const before = process.cpuUsage();
  let wrong: string | undefined;
  try {
    await read(input);
  } catch (error) {
    const stack = error instanceof Error ? error.stack : ((error as { stack?: string } | null)?.stack ?? String(error));
    if (!isRefusal(error) && refuses?.(error) !== true) wrong = `throws ${stack}`;
  }
  const { user, system } = process.cpuUsage(before);
  const took = (user + system) / 1e6;
  return wrong ?? (took > MOST ? `takes ${took.toFixed(1)} s` : undefined);
}

describe.each(Object.entries(readers))("%s", (name, reader) => {
  const sound = reader.seeds.map((s) => (typeof s === "string" ? new TextEncoder().encode(s) : s));
  test("what was found before", async () => {
    // a reader that refuses everything finds nothing
    await reader.read(sound[0]);
    for (const input of [...sound, ...found(name)]) expect(await judged(reader, input)).toBeUndefined();
  });
  test(
    "inputs that are drawn",
    async () => {
      const from = [...sound, ...found(name)];
      const until = performance.now() + (1000 * seconds) / Object.keys(readers).length;
      const faults: string[] = [];
      let kept: string | undefined;
      for (let i = 0; seconds > 0 ? performance.now() < until : i < reader.runs; i++) {
        const draws = new Draws(seed, i);
        const input = mutated(draws, draws.of(from), draws.of(from), reader.text);
        if (LAST !== undefined) writeFileSync(LAST, input);
        const wrong = await judged(reader, input);
        if (wrong === undefined) continue;
        kept ??= mkdtempSync(path.join(tmpdir(), "peftc-fuzz-"));
        mkdirSync(kept, { recursive: true });
        writeFileSync(path.join(kept, `${i}`), input);
        faults.push(`${path.join(kept, `${i}`)} (seed ${seed}): ${wrong.split("\n").slice(0, 6).join("\n")}`);
        if (faults.length >= 10) break;
      }
      expect(faults).toEqual([]);
    },
    Math.max(60, seconds * 2 + 60) * 1000,
  );
});
