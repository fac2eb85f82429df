import { Builder } from "../../ir/build.ts";
import type { Graph, Node } from "../../ir/graph.ts";
import { keyOf } from "../../ir/random.ts";
import { Context, within } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import type { Storage } from "./storage.ts";
import { Start } from "./values.ts";

/**
 * First values as graphs with the output `value`. A draw is keyed by the seed and the parameter's path, so adding a parameter moves no
 * other. Returns the graph and the parameters it reads.
 */
export function startGraph(e: Elaborator, storage: Storage, seed: number): { graph: Graph; reads: readonly Storage[] } {
  const ctx = new Context("start", seed, `start ${storage.name}`, () => true);
  return within(ctx, () => {
    const b = new Builder({ path: storage.name, span: storage.span });
    const v = storage.start();
    let node: Node;
    if (v instanceof Start) {
      const key = b.table(keyOf(seed, "start", storage.name), [2], "i32");
      const drawn = b.draw(v.draw, storage.shape, key, b.constant(0, "i32"));
      node = b.add(b.mul(drawn, v.scale), v.offset);
    } else if (typeof v === "number" || typeof v === "boolean") node = b.constant(Number(v), storage.dtype, storage.shape);
    else {
      const given = b.cast(e.node(v, { path: storage.name, training: false, calls: "" }, storage.span), storage.dtype);
      const fits =
        given.type.shape.length <= storage.shape.length &&
        given.type.shape.every((d, i) => d === 1 || d === storage.shape[storage.shape.length - given.type.shape.length + i]);
      if (!fits)
        fail(
          "P0401",
          storage.span,
          `the start of ${storage.name} is [${given.type.shape.join(", ")}], the parameter is [${storage.shape.join(", ")}]`,
        );
      node = b.broadcastTo(given, storage.shape);
    }
    return { graph: { results: [{ role: "output", name: "value", node }] }, reads: [...ctx.params.values()] };
  });
}
