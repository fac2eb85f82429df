/** The `.peft` program that a case asks for. */
import { architectureOf } from "./architectures.ts";
import { type Case, type Optimizer, Unsupported } from "./manifest.ts";

export interface Wanted {
  readonly test: Case;
  /** Class of the model, as its `config.json` says. */
  readonly model: string;
  /** Folder of the model, relative to the program. */
  readonly base: string;
  /** What labels of texts or pictures are, as `problem_type` says it; none: classes. */
  readonly problem: string | undefined;
  /** The statements that adapt the model, and what they need imported: names by file. */
  readonly adapting: readonly string[];
  readonly imports: readonly (readonly [string, readonly string[]])[];
  /** Selections of what is trained; none: only the forward call is wanted. */
  readonly trained: readonly string[];
  /** Values of the call to look at, from the objective. */
  readonly columns: readonly string[];
  /** Declarations, in front of the model; what is trained (the task's objective is `goal`); more to look at. */
  readonly declared?: string | undefined;
  readonly objective?: string | undefined;
  readonly looks?: readonly Look[] | undefined;
}

/** A stage that looks at values of an objective: outputs of the case (without `out.`) by the values that they are. */
export interface Look {
  readonly name: string;
  readonly objective: string;
  readonly outputs: Readonly<Record<string, string>>;
}

interface Task {
  /** Objective of the library ... */
  readonly objective: string;
  /** ... or declared in the program. */
  readonly declared?: string;
  /** Imports of that. */
  readonly uses?: readonly string[];
  /** Name under which the objective takes the labels. */
  readonly labels: string;
}

const tasks: Readonly<Record<string, Task>> = {
  lm: { objective: "causal_lm", labels: "labels" },
  cls: { objective: "classification", labels: "label" },
  "cls regression": { objective: "regression", labels: "label" },
  "cls multi_label_classification": { objective: "multi_label", labels: "label" },
  tok: { objective: "tagging", labels: "tags" },
  mlm: {
    objective: "unmasking",
    labels: "labels",
    uses: ["LanguageModel", "token_loss"],
    declared: `
module unmasking(lm: LanguageModel) {
  forward(input_ids: i32[B, S], attention_mask: bool[B, S] = true, labels: i32[B, S]) -> loss: f32[] {
    logits = lm(input_ids, attention_mask).logits
    loss   = token_loss(logits, labels)
  }
}`,
  },
  seq2seq: {
    objective: "translation",
    labels: "labels",
    uses: ["Seq2Seq", "token_loss"],
    declared: `
module translation(lm: Seq2Seq) {
  forward(input_ids: i32[B, S], attention_mask: bool[B, S] = true, decoder_input_ids: i32[B, T], labels: i32[B, T]) -> loss: f32[] {
    logits = lm(input_ids, attention_mask, decoder_input_ids).logits
    loss   = token_loss(logits, labels)
  }
}`,
  },
  qa: { objective: "answer_span", labels: "labels" },
  contrast: { objective: "image_text", labels: "labels" },
  "contrast siglip": { objective: "image_text_pairs", labels: "labels" },
  image: recognition("i32[B]", "token_loss(logits, label)"),
  "image regression": recognition("f32[B, 1]", "mean((logits - label) ** 2)"),
};

/** Cases of distillation have no labels. */
function recognition(label: string, loss: string): Task {
  return {
    objective: "recognition",
    labels: "label",
    uses: ["ImageClassifier", "token_loss"],
    declared: `
module recognition(lm: ImageClassifier) {
  forward(pixel_values: f32[B, C, H, W], label: ${label} = 0) -> loss: f32[] {
    logits = lm(pixel_values).logits
    loss   = ${loss}
  }
}`,
  };
}

export function taskOf({ test, problem }: Pick<Wanted, "test" | "problem">): Task {
  const found = tasks[`${test.task} ${problem}`] ?? tasks[`${test.task} ${test.arch}`] ?? tasks[test.task];
  if (found === undefined) throw new Unsupported(`no objective for the task ${test.task}`);
  return found;
}

/** The objective's name for its model. */
export const modelName = (task: Task): string =>
  ["classification", "regression", "multi_label", "tagging", "answer_span", "image_text", "image_text_pairs"].includes(task.objective)
    ? "model"
    : "lm";

/** `bert.encoder.layer.0.output` as the language writes it. */
export const selector = (path: string): string => path.replace(/\.(\d+)(?=\.|$)/g, "[$1]");

/** Optimisers in files of their own. */
const APART = ["lion", "muon", "adafactor", "adamw8"];

/** The optimiser and its schedule; a run without one only looks at gradients. */
export function update(o: Optimizer | null | undefined): { imports: string[]; optimizer: string; schedule: string | undefined } {
  if (o == null) return { imports: ["sgd"], optimizer: "sgd(lr: 0)", schedule: undefined };
  const decay = `weight_decay: ${o.weight_decay ?? 0}`;
  const optimizers: Readonly<Record<string, string>> = {
    AdamW: `adamw(lr: ${o.lr}, betas: [${(o.betas ?? []).join(", ")}], eps: ${o.eps ?? 0}, ${decay})`,
    Adam: `adam(lr: ${o.lr}, betas: [${(o.betas ?? []).join(", ")}], eps: ${o.eps ?? 0}, ${decay})`,
    Lion: `lion(lr: ${o.lr}, betas: [${(o.betas ?? []).join(", ")}], ${decay})`,
    Muon: `muon(lr: ${o.lr}, momentum: ${o.momentum ?? 0}, nesterov: ${o.nesterov === true}, adjust: "${o.adjust}", ${decay})`,
    Adafactor: `adafactor(lr: ${o.lr}, ${decay})`,
    AdamW8bit: `adamw8(lr: ${o.lr}, betas: [${(o.betas ?? []).join(", ")}], eps: ${o.eps ?? 0}, block: ${o.block}, small: ${o.small}, ${decay})`,
    SGD: `sgd(lr: ${o.lr}, momentum: ${o.momentum ?? 0}, ${decay})`,
  };
  const optimizer = optimizers[o.name];
  if (optimizer === undefined) throw new Unsupported(`no optimiser ${o.name}`);
  const imports = [optimizer.slice(0, optimizer.indexOf("("))];
  if (!o.schedule) return { imports, optimizer, schedule: undefined };
  const [kind, warmup, total] = o.schedule;
  if (!["linear", "cosine"].includes(kind)) throw new Unsupported(`no schedule ${kind}`);
  return { imports: [...imports, kind], optimizer, schedule: `fn(t, n) => rate(t, ${total})\nrate = ${kind}(warmup: ${warmup})` };
}

/** Keeps the gradient of the last step. */
export const OBSERVE = `method Gradient() on Parameter {
  state seen = 0 * value
  seen.next := grad
}`;

/** The whole text. Stages: `run` takes steps, `look` calls the objective on its own. */
export function programOf(wanted: Wanted): string {
  const { test, model, base, adapting, imports, trained, columns } = wanted;
  const task = taskOf(wanted);
  const { file, classes } = architectureOf(test);
  const module = classes?.[model] ?? model;
  const o = test.optimizer;
  const { imports: optimizers, optimizer, schedule } = update(o);
  const lines = [
    `import { ${module} } from "${file}"`,
    ...(task.uses ? [`import { ${task.uses.join(", ")} } from "std/nn"`] : [`import { ${task.objective} } from "std/objectives"`]),
    ...imports.map(([from, names]) => `import { ${names.join(", ")} } from "${from}"`),
  ];
  if (task.declared) lines.push(task.declared);
  if (wanted.declared) lines.push(wanted.declared);
  if (trained.length > 0) {
    const apart = optimizers.filter((name) => APART.includes(name));
    const usual = [...optimizers.filter((name) => !apart.includes(name)), ...(o?.no_decay_on_bias_and_norm ? ["NoDecay"] : [])];
    if (usual.length > 0) lines.push(`import { ${usual.join(", ")} } from "std/training"`);
    for (const name of apart) lines.push(`import { ${name} } from "std/optimizers/${name}"`);
    if (o?.no_decay_on_bias_and_norm) lines.push('import { Norm } from "std/nn"');
    lines.push(OBSERVE);
  }
  lines.push(`model m = ${module} from "${base}"`, ...adapting);
  // the published numbers were made without dropout, gradients too
  lines.push(`goal = ${task.objective}(eval(m))`);
  if (trained.length > 0) {
    const watched = [
      ...(schedule ? [`lr: ${o!.lr} * rate(step, ${o!.schedule![2]})`] : []),
      // the ranks that allocation leaves are a value of every site's
      ...(test.method === "adalora" ? ["budget: a[0].budget"] : []),
    ];
    const what = `[${trained.join(", ")}]`;
    lines.push(`attach gradient = Gradient() to ${what}`);
    if (o?.no_decay_on_bias_and_norm) lines.push("attach plain = NoDecay() to [m.**.bias, m.**: Norm]");
    if (schedule) lines.push(schedule.split("\n")[1]);
    lines.push(
      "train run {",
      `  objective = ${wanted.objective ?? "goal"}`,
      '  data = jsonl("rows.jsonl")',
      `  params = ${what}`,
      `  optimizer = ${optimizer}`,
      ...(schedule ? [`  schedule = ${schedule.split("\n")[0]}`] : []),
      ...(watched.length > 0 ? [`  watch = { ${watched.join(", ")} }`] : []),
      ...(o?.clip ? [`  clip = ${o.clip}`] : []),
      ...(o?.micro_batches && o.micro_batches > 1 ? [`  accumulate = ${o.micro_batches}`] : []),
      `  steps = ${o?.steps ?? 1}`,
      "}",
    );
  }
  const looks = (wanted.looks ?? []).map(
    ({ name, objective, outputs }) => [name, objective, ["loss", ...new Set(Object.values(outputs))]] as const,
  );
  for (const [name, objective, shown] of [["look", "goal", columns] as const, ...looks])
    lines.push(
      `predict ${name} {`,
      `  objective = ${objective}`,
      '  data = jsonl("rows.jsonl")',
      `  columns = [${shown.map((c) => `"${c}"`).join(", ")}]`,
      "}",
    );
  return `${lines.join("\n")}\n`;
}
