import { subDim, symbol } from "../../ir/dim.ts";
import type { Result, Span } from "../../ir/graph.ts";
import type { ColumnDecl, Entry } from "../project.ts";
import { Context, within } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { Frame } from "./frame.ts";
import { forwardOf, type Instance } from "./instance.ts";
import { nowhere } from "./step.ts";
import { builderAt } from "./tensors.ts";
import { Thunk } from "./thunk.ts";
import { Tensor, type Value } from "./values.ts";

/** The two graphs of generation: one for the text given, one for each token after it. Caches are states that both name. */
export function decodeEntries(e: Elaborator, model: Instance, stage: string, span: Span): { prefill: Entry; decode: Entry; front: number } {
  const forward = forwardOf(model.decl);
  const names = forward?.params.map((p) => p.name.text) ?? [];
  if (!forward || !names.includes("input_ids") || !forward.results.some((r) => r.name.text === "logits"))
    fail("P0810", span, `${model.decl.name.text} cannot generate: it has no \`input_ids\` and \`logits\``);
  let front = 0;
  const one = (mode: "prefill" | "decode"): Entry => {
    const ctx = new Context(mode, 0, stage, (_x, name) => name !== "loss");
    return within(ctx, () => {
      const columns: ColumnDecl[] = [];
      const args = new Map<string, Thunk<Value>>();
      for (const name of ["input_ids", "attention_mask"]) {
        if (!names.includes(name)) continue;
        const dtype = name === "input_ids" ? "i32" : "bool";
        const shape = [symbol("B"), mode === "decode" ? 1 : symbol("S")];
        columns.push({ name, dtype, shape, span });
        args.set(name, Thunk.of<Value>(new Tensor(builderAt(nowhere, span).input(name, { dtype, shape }))));
      }
      const frame = new Frame(model, undefined, args, new Map(), { training: false, turn: undefined }, span);
      const logits = e.node(frame.read("logits")!, nowhere, span);
      const results: Result[] = [{ role: "output", name: "logits", node: logits }];
      for (const [name, r] of ctx.remembered) {
        results.push({ role: "state", name, node: r.next });
        if (mode === "prefill")
          for (const d of r.node.type.shape) {
            const extra = subDim(d, symbol("S"));
            if (typeof extra === "number" && extra > 0) front = extra;
          }
      }
      e.note(ctx);
      return { graph: { results }, columns, states: [...ctx.remembered.keys()] };
    });
  };
  const prefill = one("prefill");
  const decode = one("decode");
  return { prefill, decode, front };
}
