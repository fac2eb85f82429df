/** Several adapters and how they act together, as the adapters library saves them: a program that attaches them so. */
import { type Block, SETUP_FILE } from "../formats/adapters/setup.ts";
import type { Json } from "../formats/files.ts";
import { InputError } from "../ir/errors.ts";
import { variable } from "./base.ts";

/** Kinds of composition that are a method on the first adapter, with the options that come from `kwargs`. */
const COMPOSED: Readonly<Record<string, (kwargs: Readonly<Record<string, Json>>) => { method: string; options: string }>> = {
  Stack: () => ({ method: "Stack", options: "" }),
  Parallel: () => ({ method: "InParallel", options: "" }),
  Average: ({ weights }) => ({ method: "Average", options: weights === undefined ? "" : `, ${JSON.stringify(weights)}, normalize: false` }),
  // the last takes what is left
  Split: ({ splits }) => ({ method: "Split", options: `, ${JSON.stringify(Array.isArray(splits) ? splits.slice(0, -1) : [])}` }),
  BatchSplit: ({ batch_sizes }) => ({
    method: "BatchSplit",
    options: `, ${JSON.stringify(Array.isArray(batch_sizes) ? batch_sizes.slice(0, -1) : [])}`,
  }),
};

interface SetupLines {
  readonly lines: readonly string[];
  /** Methods of `std/methods/composition`. */
  readonly methods: readonly string[];
}

/**
 * Statements that attach the setup to `model`. `loadOf`: how the program names an adapter's folder. P0665: a kind, or a nesting, that is not built.
 */
export function setupLines(setup: Block, model: string, loadOf: (name: string) => string): SetupLines {
  const lines: string[] = [];
  const methods = new Set<string>();
  const shelf = "shelf";
  const taken = new Map<string, string>();
  const nameOf = (name: string): string => {
    const known = taken.get(name);
    if (known !== undefined) return known;
    let own = variable(name);
    while ([model, shelf, ...taken.values()].includes(own)) own += "_";
    taken.set(name, own);
    return own;
  };
  const load = (name: string, to: string): string => {
    const own = nameOf(name);
    lines.push(`attach ${own} = load("${loadOf(name)}") to ${to}`);
    return own;
  };
  const refuse = (why: string): never => {
    throw new InputError("P0665", `${SETUP_FILE}: ${why} is not built`);
  };
  /** Gives the attachment on which the rest of the block stands. */
  const place = (block: Block, to: string): string => {
    if (typeof block === "string") return load(block, to);
    if (block.type === "Fuse") {
      const names = block.children.map((child) => (typeof child === "string" ? child : refuse(`${child.type} in Fuse`)));
      const sources = names.map((name) => load(name, shelf));
      const fused = typeof block.kwargs.name === "string" ? block.kwargs.name : names.join(",");
      const own = nameOf(fused);
      lines.push(`attach ${own} = load("${loadOf(fused)}", given: { sources: [${sources.join(", ")}] }) to ${to}`);
      return own;
    }
    const composed = COMPOSED[block.type]?.(block.kwargs) ?? refuse(block.type);
    const [first, ...others] = block.children.map((child, i) => place(child, i === 0 ? to : shelf));
    if (others.length === 0) return first;
    methods.add(composed.method);
    lines.push(
      `attach ${nameOf(`${composed.method} of ${first}`)} = ${composed.method}([${others.join(", ")}]${composed.options}) to ${first}`,
    );
    return first;
  };
  // one on top of the other is what attaching them in order does
  if (typeof setup !== "string" && setup.type === "Stack") for (const child of setup.children) place(child, model);
  else place(setup, model);
  const apart = lines.some((line) => line.endsWith(` to ${shelf}`));
  return {
    lines: [...(apart ? [`model ${shelf} = ${model}          // is not called: what lies here acts through the others`] : []), ...lines],
    methods: [...methods],
  };
}
