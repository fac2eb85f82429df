/** Programs to try, and ways to spoil them. */
import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";

const folder = new URL("../../specs/", import.meta.url);

/** Every program of the library, the examples and the papers, by path. */
export const specs: ReadonlyMap<string, string> = new Map(
  (readdirSync(folder, { recursive: true }) as string[])
    .filter((f) => f.endsWith(".peft"))
    .sort()
    .map((f) => [f, readFileSync(new URL(f, folder), "utf8")]),
);

const pieces = [
  ..."(){}[].,:=*@-+/<>?!\"'#;|& \n\t_a0é",
  ...'... .. ** := => -> == != ?? // if then else for in fn module method forward param attach detach to on as shared frozen state input require model except none not and 1e 256MB 0.5 "x" x'.split(
    " ",
  ),
];

/** A program with some characters cut out, put in or cut off. */
export const spoilt: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom(...specs.values()),
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(12), fc.constantFrom("", ...pieces)), {
      minLength: 1,
      maxLength: 4,
    }),
  )
  .map(([text, start, edits]) => {
    // a stretch of it, so that one run stays short
    const from = Math.floor(start * text.length * 0.9);
    let s = text.slice(from, from + 1500);
    for (const [where, cut, put] of edits) {
      const at = Math.floor(where * s.length);
      s = s.slice(0, at) + put + s.slice(at + cut);
    }
    return s;
  });

/** Words of the language in any order. */
export const soup: fc.Arbitrary<string> = fc
  .array(fc.constantFrom(...pieces), { maxLength: 60 })
  .chain((words) => fc.constantFrom(" ", "", "\n").map((s) => words.join(s)));

/** A tree without its places. */
export function bare(tree: unknown): unknown {
  if (Array.isArray(tree)) return tree.map(bare);
  if (tree === null || typeof tree !== "object") return tree;
  return Object.fromEntries(
    Object.entries(tree)
      .filter(([k, v]) => k !== "span" && v !== undefined)
      .map(([k, v]) => [k, bare(v)]),
  );
}
