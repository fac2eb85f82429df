import { type Dim, subDim, symbol } from "../../ir/dim.ts";
import type { Result, Span } from "../../ir/graph.ts";
import type { Entry, GenerateStage } from "../project.ts";
import { Context, within } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { Frame } from "./frame.ts";
import { forwardOf, type Instance, inputsOf, writesApart } from "./instance.ts";
import { entryOf, nowhere } from "./step.ts";
import { builderAt } from "./tensors.ts";
import { Thunk } from "./thunk.ts";
import { Fields, Tensor, type Value } from "./values.ts";

/** Texts that are decoded at once. */
export const ROWS: Dim = symbol("B");
/** Tokens of the text given, and of what an encoder–decoder begins to write with. */
const TEXT = symbol("S");
const BEGUN = symbol("T");

type Decoding = Pick<GenerateStage, "prefill" | "decode" | "front" | "begin">;

/** What was made for a model, by what is attached to it and by the beams. */
const made = new WeakMap<Instance, Map<string, Decoding>>();

/**
 * The two graphs of generation: one for the text given, one for each token after it. What is kept between them are states that both name. Stages of a model to
 * which nothing was attached in between have the same two; where something is drawn the stage's name is a part of them.
 */
export function decodeEntries(e: Elaborator, model: Instance, stage: string, beams: number, span: Span): Decoding {
  // attachments only become more, and their sites in use fewer
  const live = e.attachments.reduce((sum, { sites }) => sum + sites.filter((site) => !site.detached).length, 0);
  const key = `${beams} ${e.attachments.length} ${live}`;
  const before = made.get(model)?.get(key);
  if (before !== undefined) return at(before, span);
  const { named, ...decoding } = buildEntries(e, model, stage, beams, span);
  if (!named) made.set(model, (made.get(model) ?? new Map<string, Decoding>()).set(key, decoding));
  return decoding;
}

/** The same graphs of another stage: what they read is asked for there. */
function at(decoding: Decoding, span: Span): Decoding {
  const moved = (entry: Entry): Entry => ({ ...entry, columns: entry.columns.map((c) => (GIVEN.has(c.name) ? { ...c, span } : c)) });
  return { ...decoding, prefill: moved(decoding.prefill), decode: moved(decoding.decode) };
}

/** Columns that the stage gives, and no line of a module declares. */
const GIVEN: ReadonlySet<string> = new Set(["input_ids", "attention_mask", "decoder_input_ids"]);

/** `named`: whether a draw reads the stage's name. */
function buildEntries(e: Elaborator, model: Instance, stage: string, beams: number, span: Span): Decoding & { readonly named: boolean } {
  const inputs = inputsOf(model);
  if (!inputs.includes("input_ids") || !forwardOf(model.decl)?.results.some((r) => r.name.text === "logits"))
    fail("P0810", span, `${model.decl.name.text} cannot generate: it has no \`input_ids\` and \`logits\``);
  const apart = writesApart(model);
  const written = apart ? "decoder_input_ids" : "input_ids";
  const begin = apart ? beginning(model, span) : undefined;
  const length = apart ? BEGUN : TEXT;

  const one = (mode: "prefill" | "decode", kept?: Context["remembered"]) => {
    const ctx = new Context(mode, 0, stage, e.inUse);
    ctx.kept = kept;
    return within(ctx, () => {
      const input = (name: string, dtype: "i32" | "bool", shape: readonly Dim[]) => {
        const node = builderAt(nowhere, span).input(name, { dtype, shape });
        ctx.columns.set(name, { decl: { name, dtype, shape, span }, node });
        return node;
      };
      const args = new Map<string, Thunk<Value>>();
      const given = [...GIVEN].filter((name) => inputs.includes(name));
      const asked = new Set(mode === "decode" ? [written, apart ? "" : "attention_mask", "beam"] : given);
      for (const name of given) {
        const tokens = mode === "decode" && asked.has(name) ? 1 : name === written ? length : TEXT;
        args.set(name, Thunk.of<Value>(new Tensor(input(name, name === "attention_mask" ? "bool" : "i32", [ROWS, tokens]))));
      }
      if (mode === "decode" && beams > 1) ctx.parents = input("beam", "i32", [ROWS]);
      const frame = new Frame(model, undefined, args, new Map(), { training: false, iteration: undefined }, span);
      const results: Result[] = [{ role: "output", name: "logits", node: e.node(frame.read("logits")!, nowhere, span) }];
      for (const [name, { next }] of ctx.remembered) if (next) results.push({ role: "state", name, node: next });
      const entry = entryOf(results);
      // of an encoder's text, and of other columns, nothing is read after the first graph
      const late = mode === "decode" ? entry.columns.find((c) => !asked.has(c.name)) : undefined;
      if (late)
        fail("P0810", late.span, `\`${late.name}\` is not there any more when the second token is written`, {
          notes: ["`remember(x)` keeps what was made of it with the text given"],
        });
      e.note(ctx);
      return { entry, remembered: ctx.remembered, named: ctx.named };
    });
  };
  const prefill = one("prefill");
  const decode = one("decode", prefill.remembered);
  let front = 0;
  for (const { node, axis } of prefill.remembered.values()) {
    const extra = axis === undefined ? 0 : subDim(node.type.shape[axis], length);
    if (typeof extra === "number" && extra > 0) front = extra;
  }
  return { prefill: prefill.entry, decode: decode.entry, front, begin, named: prefill.named || decode.named };
}

/** What an encoder–decoder's text begins with, by its configuration. */
function beginning(model: Instance, span: Span): number[] {
  const config = [...model.args.values()].find((v): v is Fields => v instanceof Fields);
  const token = (field: string) => {
    const v = config?.entries.get(field);
    return typeof v === "number" ? [v] : [];
  };
  const start = token("decoder_start_token_id");
  if (start.length === 0)
    fail("P0810", span, `${model.decl.name.text} cannot generate: its configuration has no \`decoder_start_token_id\``);
  return [...start, ...token("forced_bos_token_id")];
}
