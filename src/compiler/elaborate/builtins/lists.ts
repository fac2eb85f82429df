import { Attachment } from "../attachment.ts";
import { Instance } from "../instance.ts";
import { parametersOf } from "../parameters.ts";
import { Chain, describe, Evaluated, Fields, Loaded, Selection, type Value } from "../values.ts";
import { BuiltinTable } from "./table.ts";

export const lists = new BuiltinTable("Lists, adapters, counts");

lists.add("length", "How many things a list, a text, a selection or a record has.", [{ name: "x" }], ({ x }, c) => {
  if (Array.isArray(x)) return x.length;
  if (typeof x === "string") return x.length;
  if (x instanceof Selection) return x.places.length;
  if (x instanceof Chain) return x.iterations.length;
  if (x instanceof Attachment) return x.sites.length;
  if (x instanceof Fields) return x.entries.size;
  return c.fail("P0205", `\`length\` takes a list, this is ${describe(x!)}`);
});
lists.add(
  "zip",
  "Lists side by side: [[first of each], [second of each], …]. They are of one length.",
  [{ name: "lists", rest: true }],
  (args, c) => {
    const all = (args.lists as readonly Value[]).map((l) => c.list(l, "list"));
    if (all.some((l) => l.length !== all[0].length)) c.fail("P0205", `\`zip\` of lists of ${all.map((l) => l.length).join(" and ")}`);
    return all[0].map((_, i) => all.map((l) => l[i]));
  },
);
lists.add("enumerate", "[[0, first], [1, second], …].", [{ name: "x" }], ({ x }, c) => c.list(x, "x").map((v, i) => [i, v]));
lists.add("reversed", "The list from its end.", [{ name: "x" }], ({ x }, c) => [...c.list(x, "x")].reverse());
// each number or text once, in the order of first occurrence
lists.add("unique", "Each number or text once, in the order of first occurrence.", [{ name: "x" }], ({ x }, c) => [
  ...new Set(c.list(x, "x")),
]);
// [f, n / f] where f divides n, else the pair nearest to square with neither above f (−1: any)
lists.add(
  "factors",
  "[f, n / f] where f divides n, else the pair nearest to a square with neither above f (−1: any).",
  [{ name: "n" }, { name: "f" }],
  (args, c) => {
    const n = c.int(args.n!, "n");
    const f = c.int(args.f!, "f");
    if (f > 0 && n % f === 0) return [f, n / f];
    if (n < 1 || f < -1 || f === 0) c.fail("P0205", `\`factors\` takes a size and the factor wanted (−1: any), these are ${n} and ${f}`);
    c.evaluator.work.spend(Math.floor(Math.sqrt(n)), c.span);
    const limit = f === -1 ? n : f;
    let [m, k] = [1, n];
    let best = [m, k];
    // the pair closest to square whose smaller part does not exceed the limit
    for (m = 1; m * m <= n; m++) {
      if (n % m !== 0 || m > limit) continue;
      k = n / m;
      best = [m, k];
    }
    return best;
  },
);
lists.add("count", "Parameters of a selection, a model or an attachment.", [{ name: "x", selection: true }], ({ x }, c) => {
  const storages = parametersOf(x ?? null, c.span);
  return storages.reduce((n, s) => n + s.shape.reduce((p, d) => p * d, 1), 0);
});
lists.add(
  "load",
  "An adapter from a folder, to be attached: its method, options and values. `given` is a record of options that a file cannot hold.",
  [{ name: "folder" }, { name: "given", optional: true }],
  ({ folder, given }, c) => {
    if (typeof folder !== "string") return c.fail("P0205", `\`load\` takes the folder of an adapter, this is ${describe(folder!)}`);
    const path = c.evaluator.resolvePath(folder as string, c.span);
    const file = c.evaluator.readAdapter(path, c.span);
    if (!file)
      return c.fail("P0607", `there is no adapter in ${folder}`, ["a folder with adapter_config.json and adapter_model.safetensors"]);
    if (given !== undefined && !(given instanceof Fields))
      return c.fail("P0205", `\`given\` is a record of options, this is ${describe(given)}`, [
        "options that a file cannot hold: `given: { sources: [a, b] }`",
      ]);
    return new Loaded(path, file, given?.entries ?? new Map(), c.span);
  },
);
// several adapters of one base as one
lists.add(
  "combine",
  "Several adapters of one base as one, weighted, as PEFT's `add_weighted_adapter` does it: `how` is its `combination_type`, `sign` its `majority_sign_method`.",
  [{ name: "adapters" }, { name: "weights" }, ...["how", "density", "sign", "rank", "seed"].map((name) => ({ name, optional: true }))],
  ({ adapters, weights, how, density, sign, rank, seed }, c) => {
    const all = c.list(adapters, "adapters").map((a) => {
      if (!(a instanceof Loaded) || a.folders.length !== 1)
        return c.fail("P0205", `\`combine\` takes a list of adapters, this is ${describe(a)}`, [
          '`combine([load("a"), load("b")], [0.7, 0.3])`',
        ]);
      return a;
    });
    if (all.length === 0) return c.fail("P0205", "`combine` takes at least one adapter");
    const text = (v: Value | undefined, name: string, usual: string) =>
      v === undefined || typeof v === "string" ? (v ?? usual) : c.fail("P0205", `\`${name}\` of combine is a text, this is ${describe(v)}`);
    const folders = all.map((a) => a.folder);
    const combination = {
      how: text(how, "how", "svd"),
      weights: c.list(weights, "weights").map((w) => c.num(w, "weights")),
      ...(density !== undefined && { density: c.num(density, "density") }),
      ...(sign !== undefined && { sign: text(sign, "sign", "total") }),
      ...(rank !== undefined && { rank: c.int(rank, "rank") }),
      ...(seed !== undefined && { seed: c.int(seed, "seed") }),
    };
    const { folder, file } = c.evaluator.combineAdapters(folders, combination, c.span);
    return new Loaded(folder, file, new Map(), c.span, folders);
  },
);
lists.add("eval", "The model with `training` false: no dropout.", [{ name: "model" }], ({ model }, c) => {
  if (!(model instanceof Instance)) c.fail("P0205", `\`eval\` takes a model, this is ${describe(model!)}`);
  return new Evaluated(model as Instance);
});
