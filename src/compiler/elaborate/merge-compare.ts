/** What a merged model is compared with, and what is said where it cannot be made. */
import { ROWS } from "../../ir/affine.ts";
import { bind } from "../../ir/bind.ts";
import { Builder } from "../../ir/build.ts";
import { type Graph, type Node, order } from "../../ir/graph.ts";
import { isGather, rowOf } from "../../ir/ops/index.ts";
import { keyOf } from "../../ir/random.ts";
import { rebuild } from "../../ir/rebuild.ts";
import type { Frame } from "./frame.ts";
import type { Instance } from "./instance.ts";
import { methodFrame } from "./method-frame.ts";
import type { Edit } from "./versions.ts";

/** An input, but for the clock of updates, which stands still while a model is merged. */
export const ofTheBatch = (n: Node): boolean => rowOf(n).supply === "input" && n.attrs.name !== "step" && n.attrs.name !== "steps";

export const NO_PRODUCT = "only what a parameter multiplies can be folded, and this is no product of the module's input and its parameters";

export const NOTHING: ReadonlyMap<string, Node> = new Map();

export type Refuse = (why: string, node?: Node) => never;

/** A value and the rows that it is made of. */
export interface Answer {
  readonly y: Node;
  readonly x: Node;
}

export function framesBelow(frame: Frame): Frame[] {
  return [...frame.calls.values()].flatMap((list) => (list.length === 1 ? [list[0], ...framesBelow(list[0])] : []));
}

export interface Edited {
  readonly name: string;
  readonly edit: Edit;
}

/** What acts where nothing is trained: lines in branches that are not taken do not. */
export const liveEdits = (i: Instance): Edited[] =>
  [...i.edits].flatMap(([name, edits]) =>
    edits.filter((x) => !x.site.detached && methodFrame(x.site, undefined).reaches(x.line)).map((edit) => ({ name, edit })),
  );

export const listed = (names: readonly string[]): string => [...new Set(names)].map((name) => `\`${name}\``).join(", ");

export const attachmentNotes = (i: Instance): string[] => {
  const names = listed(liveEdits(i).map((x) => x.edit.site.attachment.name));
  return names === "" ? [] : [`attached there: ${names}`];
};

/** How many different whole numbers there are: the rows of the table that the plain module takes them from; of f32 rows, the width. */
export function sizeOf(x: Node, plain: Node, plainX: Node): number {
  if (x.type.dtype === "f32") return x.type.shape[1] as number;
  const table = order([plain]).find((n) => isGather(n) && n.inputs[1] === plainX);
  const rows = table?.inputs[0].type.shape[0];
  return typeof rows === "number" ? rows : 1;
}

/** Rows that a folded module is compared on. */
const COMPARED = 4;

/** A graph with the scalars `difference` and `size`: the largest difference of the two on the same drawn rows, the largest value. */
export function comparison(path: string, y: Node, x: Node, plain: Node, plainX: Node, n: number): Graph {
  const drawn = (root: Node, at: Node): Node => {
    const { results } = bind(
      {
        results: [
          { role: "output", name: "y", node: root },
          { role: "output", name: "x", node: at },
        ],
      },
      new Map([[ROWS, COMPARED]]),
    );
    const b = new Builder({ path });
    const key = b.table(keyOf(0, "merge", path), [2], "i32");
    const step = b.constant(0, "i32");
    const [value, input] = results.map((r) => r.node);
    const draw =
      input.type.dtype === "f32"
        ? b.draw("normal", input.type.shape, key, step)
        : b.cast(b.unary("floor", b.mul(b.draw("uniform", input.type.shape, key, step), n)), "i32");
    return rebuild([value], new Map([[input, draw]]))[0];
  };
  const [before, after] = [drawn(y, x), drawn(plain, plainX)];
  const b = new Builder({ path });
  const largest = (v: Node) => b.reduce("max", b.unary("abs", v));
  return {
    results: [
      { role: "output", name: "difference", node: largest(b.sub(before, after)) },
      { role: "output", name: "size", node: largest(before) },
    ],
  };
}
