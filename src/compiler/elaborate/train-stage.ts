import { Builder } from "../../ir/build.ts";
import { type Node, order, type Result, type Span } from "../../ir/graph.ts";
import { isHalfFormat } from "../../ir/ops/halves.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { halve } from "../../ir/passes/halve.ts";
import { PassContext } from "../../ir/passes/pass.ts";
import type { Entry, TrainStage } from "../project.ts";
import { attach } from "./attach.ts";
import type { Attachment } from "./attachment.ts";
import { callFunction } from "./calls.ts";
import { Context, within } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { methodFrame } from "./method-frame.ts";
import type { Scope } from "./scope.ts";
import { metricSpecs, type Settings } from "./settings.ts";
import { entryOf, evaluationOf, namedScalars, nowhere, objectiveLoss, readBy, readingOf } from "./step.ts";
import type { Storage } from "./storage.ts";
import { candidates, trainedBy } from "./trained.ts";
import { touches, updateNames } from "./updates.ts";
import { Applied, Closure, Dataset, describe, Fields, MethodDecl, Selection, Tensor, type Value } from "./values.ts";

/** `train { … }`: the step as one graph, and the same objective for evaluating. */
export function trainStage(e: Elaborator, s: Settings<"train">, base: { name: string; span: Span; folder: string }): TrainStage {
  const steps = s.number("steps");
  const epochs = s.number("epochs");
  if ((steps === undefined) === (epochs === undefined))
    fail(
      "P0803",
      s.statement.verb.span,
      steps === undefined ? "say how long to train: `steps` or `epochs`" : "`steps` and `epochs` are both given: one is enough",
    );
  const seed = s.number("seed");
  const objective = s.exprs.get("objective") ?? fail("P0204", s.statement.verb.span, "`train` needs `objective`");
  const data = readBy(e, s, s.datasets("data"));
  const count = objectiveCount(objective.expr);
  if (count !== undefined && count !== data.length)
    fail("P0804", objective.span, `${count} objectives for ${data.length} tables of data`, {
      notes: ["a list of objectives has one for each table"],
    });
  const pick = (i: number) => () => {
    const v = objective.value();
    return Array.isArray(v) ? (v[i] as Value) : v;
  };
  // iterations of a loop are stages of one name, each with states of its own
  const owner = e.names.stageOwner(base.folder.slice(base.folder.lastIndexOf("/") + 1));
  const first = step(e, s, pick(0), base.name, owner, seed, objective.span);
  for (const p of first.trained) e.trained.add(p);
  const rest = data.slice(1).map((_, i) => step(e, s, pick(i + 1), base.name, owner, seed, objective.span, first));
  const all = [first, ...rest];
  const evaluate = s.record("evaluate");
  const checkpoint = s.record("checkpoint");
  const best = evaluate.best as string | undefined;
  const metrics = metricSpecs(e, evaluate.metrics, s.spanOf("evaluate"));
  const asked = best === undefined ? metrics : [...metrics, { name: best, options: {} }];
  const evaluation = data.map((_, i) =>
    evaluationOf(e, pick(count === undefined ? 0 : i), base.name, seed, objective.span, asked, first.trained),
  );
  const held = evaluate.data;
  const owners = new Set(first.trained.map((p) => `${p.owner.kind} ${p.owner.name}`));
  const precision = s.string("precision");
  /** The same with frozen weights of that precision. */
  const kept = (entry: Entry): Entry => {
    if (!isHalfFormat(precision)) return entry;
    const trained = first.trained.map((p) => p.name);
    return { ...entry, graph: halve.run(entry.graph, new PassContext(new Map(), { trained, halves: precision })) };
  };
  return {
    ...base,
    verb: "train",
    ...readingOf(e, s),
    step: all.map((x) => kept(x.entry)),
    evaluation: evaluation.map(kept),
    trained: first.trained.map((p) => p.name),
    data,
    steps,
    epochs,
    batch: s.number("batch"),
    accumulate: s.number("accumulate"),
    sequence: s.number("sequence"),
    memory: s.number("memory"),
    offload: (s.value("offload") as boolean | null | undefined) ?? undefined,
    reverse: (s.value("reverse") as "exact" | number | null | undefined) ?? 0,
    precision,
    seed,
    shuffle: s.bool("shuffle"),
    evaluate: s.value("evaluate")
      ? {
          every: evaluate.every as number | undefined,
          data: held instanceof Dataset ? readBy(e, s, [held.spec])[0] : undefined,
          metrics,
          best,
          stopAfter: evaluate.stop_after as number | undefined,
        }
      : undefined,
    save: s.string("save"),
    checkpoint: { every: checkpoint.every as number | undefined, keep: checkpoint.keep as number },
    attachments: e.attachments.filter((a) => !a.maker && owners.has(`attachment ${a.name}`)).map((a) => a.name),
    ...wholeOrHeads(e, first.trained),
    objectives: [...e.objectives.parameters()]
      .filter((p) => owners.has(`objective ${p.owner.name}`) && e.used.has(p.name))
      .map((p) => p.name),
  };
}

/** Models of which most is trained are saved whole; a head trained beside attachments goes with them. */
function wholeOrHeads(e: Elaborator, trained: readonly Storage[]): { models: string[]; heads: string[] } {
  const models: string[] = [];
  const heads: string[] = [];
  const attached = trained.some((p) => p.owner.kind === "attachment");
  for (const m of e.models) {
    const own = trained.filter((p) => p.owner.kind === "model" && p.owner.name === m.name);
    if (own.length === 0) continue;
    if (attached) heads.push(...own.map((p) => p.name));
    else models.push(m.name);
  }
  return { models, heads };
}

const objectiveCount = (expr: { kind: string; items?: readonly unknown[] } | undefined): number | undefined =>
  expr?.kind === "List" ? expr.items!.length : undefined;

interface Step {
  readonly entry: Entry;
  readonly trained: readonly Storage[];
}

/** One update: loss, gradients, clipping, what methods say of both, the optimiser, and all next values. */
function step(
  e: Elaborator,
  s: Settings<"train">,
  objective: () => Value,
  stage: string,
  owner: string,
  seed: number,
  span: Span,
  like?: Step,
): Step {
  let trained: readonly Storage[] = like?.trained ?? [];
  let active: (a: Attachment) => boolean = () => true;
  const ctx = new Context("train", seed, stage, (edit, name) => {
    if (!updateNames.has(name)) return true;
    return active(edit.site.attachment);
  });
  return within(ctx, () => {
    ctx.trained = like ? trained : candidates(e, s);
    let baseLoss: Node | undefined;
    e.objectives.setBase(() => {
      baseLoss ??= objectiveLoss(e, objective(), span);
      return baseLoss;
    });
    const plain = e.objectives.base();
    if (!like) trained = trainedBy(e, s, plain);
    ctx.trained = trained;
    const set = new Set(trained);
    active = (a) => a.name.startsWith("(") || touches(e, a, set);
    for (const a of e.attachments) if (active(a)) e.heard.add(a.method.decl);
    const loss = e.node(e.readLoss(nowhere), nowhere, span);
    ctx.finishedLoss = () => loss;

    const b = new Builder({ path: "update" });
    const raw = new Map<Storage, Node>();
    for (const p of trained)
      raw.set(
        p,
        b.at({ path: `update.${p.name}`, span: p.span }).grad(loss, e.node(e.readStorage(p, "value", nowhere, span), nowhere, span)),
      );
    const squares = [...raw.values()].map((g) => b.reduce("sum", b.mul(g, g)));
    const norm = b.unary(
      "sqrt",
      squares.reduce((x, y) => b.add(x, y), b.constant(0)),
    );
    const clip = s.has("clip") ? s.number("clip") : undefined;
    const factor = clip === undefined ? undefined : b.min(b.div(b.constant(clip), b.add(norm, 1e-6)), 1);

    const optimizer = optimiser(e, s, trained, owner, span);
    const times = schedule(e, s, span);
    ctx.firstVersion = (p, name) => {
      const site = optimizer?.sites.find((x) => x.place.kind === "param" && x.place.storage === p);
      switch (name) {
        case "grad": {
          const g = raw.get(p) ?? fail("P0805", span, `${p.name} is not trained by this stage, so it has no gradient`);
          return new Tensor(factor ? b.mul(g, factor) : g);
        }
        case "base_lr":
          return optionLr(site?.scope, span);
        case "lr":
          return new Tensor(b.mul(e.node(optionLr(site?.scope, span), nowhere, span), times()));
        case "age":
          return new Tensor(b.add(b.input("step", { dtype: "i32", shape: [] }), 1));
        case "decay":
          return 1;
        case "next": {
          const frame = site && methodFrame(site, undefined);
          const next = frame?.block.find("next")?.({ ...frame.here, reader: undefined });
          if (next === undefined)
            fail("P0806", span, "the optimiser does not say what `next` is", { notes: ["as in `next = value - site.lr * grad`"] });
          return next;
        }
      }
      return fail("P0505", span, `\`.${name}\` has no value here`);
    };

    const results: Result[] = [
      { role: "output", name: "loss", node: loss },
      { role: "output", name: "grad_norm", node: norm },
      ...namedScalars(e),
    ];
    for (const [name, v] of watched(s))
      results.push({ role: "output", name: `watch/${name}`, node: e.node(v, nowhere, s.spanOf("watch")) });
    for (const p of trained) {
      const next = b.cast(e.node(e.readStorage(p, "next", nowhere, span), nowhere, span), "f32");
      if (next.type.shape.length > p.shape.length)
        fail("P0401", span, `the next value of ${p.name} is [${next.type.shape.join(", ")}], the parameter is [${p.shape.join(", ")}]`);
      results.push({ role: "param", name: p.name, node: b.broadcastTo(next, p.shape) });
    }
    const states = statesOf(e, optimizer, (a) => active(a), new Set(trained), new Set(order(results.map((r) => r.node))));
    for (const st of states) {
      const next = e.node(e.readStorage(st, "next", nowhere, span), nowhere, span);
      results.push({ role: "state", name: st.name, node: b.broadcastTo(b.cast(next, st.dtype), st.shape) });
      e.stageStates.set(st.name, { storage: st, stage: optimizer !== undefined && st.owner.name === optimizer.name ? stage : undefined });
    }
    const entry = entryOf(results);
    e.note(ctx);
    return { entry, trained };
  });
}
/** Scalars by name; they have a value only inside the step. */
function watched(s: Settings<"train">): ReadonlyMap<string, Value> {
  const v = s.value("watch") ?? undefined;
  if (v === undefined) return new Map();
  if (!(v instanceof Fields)) fail("P0206", s.spanOf("watch"), `\`watch\` must be a record, this is ${describe(v)}`);
  return v.entries;
}

function optionLr(scope: Scope | undefined, span: Span): Value {
  const v = scope?.find("lr")?.(scope.here);
  if (typeof v !== "number") fail("P0806", span, "the optimiser has no option `lr`");
  return v;
}

function optimiser(e: Elaborator, s: Settings<"train">, trained: readonly Storage[], owner: string, span: Span): Attachment | undefined {
  const v = s.value("optimizer") ?? e.library("std/defaults", "optimizer", span);
  const applied = v instanceof MethodDecl ? new Applied(v, [], s.scope, s.spanOf("optimizer")) : v;
  if (!(applied instanceof Applied))
    fail("P0206", s.spanOf("optimizer"), `\`optimizer\` must be a method on Parameter, this is ${describe(v)}`, {
      notes: ["such as `adamw(lr: 1e-3)`"],
    });
  const to = new Selection(
    trained.map((storage) => ({ kind: "param", storage }) as const),
    "the trained parameters",
  );
  const made = attach(e, `(${owner} ${applied.method.name})`, applied, to, s.spanOf("optimizer"));
  e.attachments.pop();
  return made;
}

function schedule(e: Elaborator, s: Settings<"train">, span: Span): () => Node {
  const f = s.value("schedule");
  const b = new Builder({ path: "update.schedule" });
  const t = () => new Tensor(b.input("step", { dtype: "i32", shape: [] }));
  const n = () => new Tensor(b.input("steps", { dtype: "i32", shape: [] }));
  if (f === undefined) return () => b.constant(1);
  if (!(f instanceof Closure))
    fail("P0206", s.spanOf("schedule"), `\`schedule\` must be a function of the step, this is ${describe(f)}`, {
      notes: ["such as `cosine(warmup: 0.1)`"],
    });
  let memo: Node | undefined;
  return () => {
    memo ??= b.cast(e.node(callFunction(e, f, [t(), n()], nowhere, s.spanOf("schedule")), nowhere, span), "f32");
    return memo;
  };
}

/** States that change in this update: the optimiser's, and those of the attachments that take part. */
function statesOf(
  e: Elaborator,
  optimizer: Attachment | undefined,
  active: (a: Attachment) => boolean,
  trained: ReadonlySet<Storage>,
  reached: ReadonlySet<Node>,
): Storage[] {
  const out: Storage[] = [];
  for (const a of [...e.attachments, ...(optimizer ? [optimizer] : [])]) {
    if (a !== optimizer && !active(a)) continue;
    for (const site of a.sites) {
      // what is said of a parameter holds where that parameter is trained
      if (site.detached || (site.place.kind === "param" && !trained.has(site.place.storage))) continue;
      for (const p of site.params.values()) if (p?.role === "state") out.push(p);
    }
  }
  const names = new Set([...reached].filter((n) => rowOf(n).supply === "state").map((n) => String(n.attrs.name)));
  return out.filter((st) => names.has(st.name) || st.edits.has("next"));
}
