/**
 * The fields of every stage: what each may be, what it is when left out, and what it does. Checking a stage, and the page that lists
 * fields, read this table; nothing else names a field's type or default.
 */
import { halfFormats } from "../../ir/ops/halves.ts";
import { Dataset, describe, Fields, type Value } from "./values.ts";

/** What a value may be. */
export interface Kind {
  /** As in "must be a whole number of at least 1". */
  readonly what: string;
  /** Whether a value fits; where it is `"late"`, it is known only inside the graph that it makes, and checked there. */
  readonly fits: "late" | ((v: Value) => boolean);
  /** Of a record: its own fields. */
  readonly fields?: Readonly<Record<string, Field>>;
  /** A whole number is held as i32 by graphs: past that, the message names the most. */
  readonly most?: number;
  readonly notes?: readonly string[] | undefined;
}
export interface Field {
  readonly kind: Kind;
  /** What it is when left out; none: the stage does without. */
  readonly otherwise?: number | string | boolean;
  /** One sentence or two for the page of fields. */
  readonly doc: string;
}

/** Steps and seeds are i32 in a graph. */
const MOST = 2 ** 31 - 1;
const isNumber = (v: Value): v is number => typeof v === "number";
const isTable = (v: Value): boolean => v instanceof Dataset;
const listed = (v: Value, fits: (v: Value) => boolean): boolean => (Array.isArray(v) ? (v as readonly Value[]).every(fits) : fits(v));

const whole = (least: number): Kind => ({
  what: `a whole number of at least ${least}`,
  fits: (v) => isNumber(v) && Number.isInteger(v) && v >= least && v <= MOST,
  most: MOST,
});
const above = (least: number): Kind => ({ what: `a number above ${least}`, fits: (v) => isNumber(v) && v > least && v < Infinity });
const from = (least: number): Kind => ({ what: `a number of at least ${least}`, fits: (v) => isNumber(v) && v >= least && v < Infinity });
const anyNumber: Kind = { what: "a number", fits: (v) => isNumber(v) && Number.isFinite(v) };
const flag: Kind = { what: "true or false", fits: (v) => typeof v === "boolean" };
const text: Kind = { what: "a string", fits: (v) => typeof v === "string" };
const texts: Kind = { what: "a string or a list of strings", fits: (v) => listed(v, (x) => typeof x === "string") };
const oneOf = (...words: readonly string[]): Kind => ({
  what: words.map((w) => `"${w}"`).join(" or "),
  fits: (v) => typeof v === "string" && words.includes(v),
});
const table: Kind = { what: "a table of data", fits: isTable, notes: ['such as `text("data/corpus.txt", split: 0.95)`'] };
const tables: Kind = { what: "a table of data, or a list of them", fits: (v) => listed(v, isTable), notes: table.notes };
const metrics: Kind = {
  what: "a metric, or a list of them: names, or calls such as `keyphrase_f1(at: [5])`",
  fits: (v) => listed(v, (m) => typeof m === "string" || (m instanceof Fields && typeof m.entries.get("metric") === "string")),
};
const late = (what: string): Kind => ({ what, fits: "late" });
const record = (fields: Readonly<Record<string, Field>>): Kind => ({
  what: `a record of ${Object.keys(fields).join(", ")}`,
  fits: (v) => v instanceof Fields,
  fields,
});

const objective = {
  kind: late("an objective"),
  doc: "What the stage computes: a loss, made by a function of `std/objectives` or of the file.",
} as const satisfies Field;
const batch = { kind: whole(1), otherwise: 8, doc: "Rows at a time." } as const satisfies Field;
const sequence = {
  kind: whole(1),
  doc: "The most tokens of a row; longer ones are cut. Left out: as many as the longest row has.",
} as const satisfies Field;
const memory = {
  kind: above(0),
  doc: "The most bytes that the run allocates, such as `256MB`: see [memory](memory.md). Left out: what the device has.",
} as const satisfies Field;
const seed = {
  kind: whole(0),
  otherwise: 0,
  doc: "Of all draws of the stage: order of rows, dropout, first values, samples.",
} as const satisfies Field;

export const stageFields = {
  train: {
    objective: { ...objective, doc: `${objective.doc} A list has one for each table of \`data\`.` },
    data: { kind: tables, doc: "What is learnt from; a list for several objectives." },
    params: {
      kind: late("a selection of parameters"),
      doc: "What learns. Left out: `new`, all that this file made and that the loss reaches.",
    },
    steps: { kind: whole(1), doc: "Updates. Give this or `epochs`." },
    epochs: { kind: whole(1), doc: "Passes over the data. Give this or `steps`." },
    batch,
    accumulate: { kind: whole(1), otherwise: 1, doc: "Batches of one update; their gradients are summed, counted by labels." },
    sequence,
    clip: { kind: above(0), doc: "The most that the norm of all gradients together may be; they are scaled down to it." },
    optimizer: {
      kind: late("a method on Parameter"),
      doc: "What an update does: a method of `std/training` or `std/optimizers`, with its options. Left out: that of `std/defaults`.",
    },
    schedule: { kind: late("a function of the step"), doc: "What the rate is multiplied with, such as `linear(warmup: 0.1)`." },
    memory,
    offload: {
      kind: flag,
      doc: "Whether frozen weights stay in their files and are read again in each step. Left out: where nothing else meets `memory`.",
    },
    reverse: {
      kind: {
        what: '"exact", 0, or a relative error below 1',
        fits: (v) => v === "exact" || (isNumber(v) && v >= 0 && v < 1),
      },
      otherwise: 0,
      doc: "Whether loops over layers run backwards instead of keeping values: to the bit, or within a relative error.",
    },
    precision: {
      kind: oneOf("f32", ...Object.keys(halfFormats)),
      otherwise: "f32",
      doc: "How frozen weights are held. Sums stay in f32.",
    },
    seed,
    shuffle: { kind: flag, otherwise: true, doc: "Whether each pass reads the rows in another order." },
    evaluate: {
      kind: record({
        every: { kind: whole(1), doc: "Updates between two evaluations. Left out: before the first update and behind the last." },
        data: { kind: table, doc: "What is evaluated on. Left out: the part that the table of `data` holds back." },
        metrics: { kind: metrics, doc: 'What is measured. Left out: `"loss"`.' },
        best: { kind: text, doc: "A metric: the run ends with the values that were best by it." },
        stop_after: { kind: whole(1), doc: "Evaluations without a better one after which the run stops." },
      }),
      doc: "Measuring on the way.",
    },
    watch: { kind: { what: "a record", fits: "late" }, doc: "Scalars by name, written beside the loss of every update." },
    save: { kind: text, doc: "A folder for what was trained. Left out: the stage's folder of the run." },
    checkpoint: {
      kind: record({
        every: { kind: whole(1), doc: "Updates between two checkpoints." },
        keep: { kind: whole(1), otherwise: 2, doc: "How many are kept, the newest." },
      }),
      doc: "Where an interrupted run goes on from.",
    },
  },
  evaluate: {
    objective: { ...objective, doc: "What is measured. Left out: metrics compare columns of `data`." },
    data: { kind: tables, doc: "What is measured on; a list only without `objective`." },
    metrics: { kind: metrics, doc: 'What is measured. Left out: `"loss"`.' },
    batch,
    sequence,
    memory,
  },
  predict: {
    objective: { ...objective, doc: "What is computed; or a `model`." },
    model: { kind: late("a model"), doc: "What is computed; or an `objective`." },
    data: { kind: table, doc: "The rows." },
    columns: { kind: texts, doc: "Values of the model that become columns of the result." },
    reduce: { kind: oneOf("mean"), doc: 'What is done with values of each token: `"mean"` over those that are text.' },
    batch,
    sequence,
    memory,
  },
  report: {
    rows: { kind: late("records, one a row"), doc: "Numbers and texts by column." },
    of: { kind: late("results of stages that measured something"), doc: "Stages whose metrics become rows." },
    title: { kind: text, doc: "Heading. Left out: the stage's name." },
    over: {
      kind: texts,
      doc: "A column, such as a seed, or several: rows that differ in them alone become one, as mean ± standard deviation; the first is left out.",
    },
    curve: {
      kind: record({
        x: { kind: text, doc: "Column along." },
        y: { kind: text, doc: "Column up." },
        by: { kind: text, doc: "Column of which each value has a line." },
      }),
      doc: "A picture of two columns.",
    },
  },
  generate: {
    model: { kind: late("a model"), doc: "What writes." },
    prompts: { kind: late("texts, or records with a `text`"), doc: "What is gone on from." },
    data: { kind: table, doc: "Or a table with prompts." },
    max_tokens: { kind: whole(1), otherwise: 40, doc: "The most tokens that are written." },
    beams: { kind: whole(1), otherwise: 1, doc: "Likeliest texts that are followed at once." },
    length_penalty: { kind: anyNumber, otherwise: 1, doc: "Power of its length by which a beam's log-probability is divided." },
    samples: { kind: whole(1), otherwise: 1, doc: "Texts for each prompt." },
    temperature: { kind: from(0), otherwise: 0, doc: "0 takes the likeliest token; above, tokens are drawn." },
    top_p: {
      kind: { what: "a number above 0 and at most 1", fits: (v) => isNumber(v) && v > 0 && v <= 1 },
      otherwise: 1,
      doc: "Tokens are drawn from the likeliest whose probabilities come to this.",
    },
    stop: { kind: texts, doc: "Texts that end writing, beside the model's own end." },
    memory,
    seed,
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Field>>>>;

export type Verb = keyof typeof stageFields;
export type FieldName<V extends Verb> = keyof (typeof stageFields)[V] & string;
/** `T`, or nothing where the row of a field gives no value for when it is left out. */
export type Given<V extends Verb, N extends FieldName<V>, T> = (typeof stageFields)[V][N] extends { readonly otherwise: T }
  ? T
  : T | undefined;

/** What is wrong with a value of a field, called `name` in the message; nothing where it fits. */
export function misfit(kind: Kind, v: Value, name: string): string | undefined {
  if (kind.fits === "late" || kind.fits(v)) return undefined;
  if (kind.most !== undefined && isNumber(v) && Number.isInteger(v) && v > kind.most)
    return `${name} is ${v}: at most ${kind.most} is possible`;
  return `${name} must be ${kind.what}, this is ${describe(v)}`;
}
