/** Rows of text to rows of tokens: what a table's `input`, `target` and `label` say. */
import { InputError } from "../../ir/errors.ts";
import { describe, isRecord, type Json } from "../files.ts";
import { Numeral } from "../numeral.ts";
import type { Framed, TextTokenizer } from "../tokenizer/tokenizer.ts";
import { type ClassNames, missing, type Numbering, readArray, readLabels } from "./labels.ts";
import type { Row } from "./records.ts";
import { arrayColumn, type Column, listColumn, numberColumn, type RowFacts, type Table } from "./table.ts";
import { isWords, readTags, readWords } from "./tagged.ts";
import { applyFilters, hasMask, masksOf, render, type Slot, type Template } from "./template.ts";

/** What labels are where nothing is to be learnt. */
export const IGNORED = -100;

export interface RowPlan {
  readonly kind: "text";
  /** One text, or two. */
  readonly inputs: readonly Template[];
  readonly target: Template | undefined;
  readonly label: string | undefined;
  /** Columns that go through as they are. */
  readonly columns: readonly string[];
  /** Whether the columns' texts lose their capitals. */
  readonly lower: boolean;
  /** A column whose words, in a list, are the input. */
  readonly words?: string;
  /** A column with a class for each word of the input, which its first token gets as `tags`. */
  readonly wordTags: string | undefined;
}

interface EncodeContext {
  readonly file: string;
  readonly tokenizer: TextTokenizer;
  /** Most tokens a row may have; none: as many as it needs. */
  readonly sequence: number | undefined;
  /** Whether the target has a sequence of its own (encoder–decoders), or follows the input. */
  readonly separate: boolean;
  /** Texts that a model goes on from: without what the tokenizer puts behind a text. */
  readonly open?: boolean;
  readonly labels: Numbering;
  /** A model wrote the answers: one may be empty. */
  readonly written?: boolean;
}

/** Columns, and what became of each row. */
export interface EncodedRows {
  readonly columns: Map<string, Column>;
  readonly facts: readonly RowFacts[];
  readonly without?: Table["without"];
  /** What of the rows' columns, and of fields inside them, nothing was made of, where this is known only now. */
  readonly unread?: readonly string[];
  /** Names of the classes in `label`, where they have names. */
  readonly classes?: ClassNames;
}

interface Encoded extends Framed {
  readonly labels?: readonly number[];
  /** Places of the template's masks. */
  readonly masksAt?: readonly number[];
  readonly tags?: readonly number[];
  /** Before anything was cut off: how many tokens have a label, and how many stand before the first of them. */
  readonly labelled?: number;
  readonly start?: number;
  /** Whether the answer begins within a token of the prompt's. */
  readonly merged?: boolean;
}

/**
 * The rows from `start` to `end` of `all`, over all of which names of classes are numbered. Columns `input_ids`, `attention_mask`, `special`, `token_type_ids`, where there is a target `labels`, where there is a mask `mask_at`, where there is a label `label`, and those
 * asked for. P0710: the tokenizer has no mask · P0711: nothing is left of a row's target · P0712: the mask does not fit · P0713: `sequence` is smaller than what goes around a text.
 */
export function encodeRows(
  all: readonly Row[],
  [start, end]: readonly [number, number],
  plan: RowPlan,
  context: EncodeContext,
): EncodedRows {
  const rows = all.slice(start, end);
  const { tokenizer, file, sequence } = context;
  const least = tokenizer.overhead(plan.inputs.length > 1) + 1;
  if (sequence !== undefined && sequence < least) {
    throw new InputError("P0713", `sequence = ${sequence} leaves no room for text: the tokenizer alone takes ${least - 1}`, [
      `give at least ${least}`,
    ]);
  }
  const masked = plan.inputs.some(hasMask);
  if (masked && tokenizer.ids.mask === undefined) {
    throw new InputError(
      "P0710",
      `the template ${JSON.stringify(plan.inputs[0].source)} has a {mask}, but the tokenizer of \`${tokenizer.folder}\` has no mask token`,
    );
  }
  const split = (row: Row) => (plan.words === undefined ? wordsOf(renderRow(row, plan.inputs[0], plan, file)) : listed(row, plan, file));
  const tags = plan.wordTags === undefined ? undefined : readTags(all, plan.wordTags, split, context.labels, file);
  const tagged = (row: Row) => encodeWords(split(row), tags?.numbers.get(row), context);
  const encoded = rows.map((row) => (plan.words !== undefined || tags !== undefined ? tagged(row) : encodeRow(row, plan, context)));
  refuseEmpty(
    rows,
    encoded.map(({ labels }) => labels),
    encoded.map(({ start }) => start ?? -1),
    context,
  );
  const columns = new Map<string, Column>([
    [
      "input_ids",
      listColumn(
        encoded.map((row) => row.ids),
        tokenizer.ids.pad ?? tokenizer.ids.eos ?? 0,
      ),
    ],
    [
      "attention_mask",
      listColumn(
        encoded.map((row) => row.ids.map(() => 1)),
        0,
      ),
    ],
    [
      "special",
      listColumn(
        encoded.map((row) => row.special.map(Number)),
        1,
      ),
    ],
    [
      "token_type_ids",
      listColumn(
        encoded.map((row) => row.types),
        0,
      ),
    ],
  ]);
  const lists = (name: string, of: (row: Encoded) => readonly number[] | undefined) => {
    if (encoded.length > 0 && of(encoded[0]) !== undefined)
      columns.set(
        name,
        listColumn(
          encoded.map((row) => of(row)!),
          IGNORED,
        ),
      );
  };
  lists("labels", (row) => row.labels);
  lists("tags", (row) => row.tags);
  const places = encoded.map((row) => row.masksAt ?? []);
  // a template with several masks has a list of their places
  if (masked) columns.set("mask_at", places[0]?.length === 1 ? numberColumn(places.map(([at]) => at)) : listColumn(places, 0));
  const label = plan.label === undefined ? undefined : labelColumn(all, plan.label, context.labels, file, [start, end]);
  if (label !== undefined) columns.set("label", label.column);
  for (const name of plan.columns) columns.set(name, givenColumn(rows, name, file));
  const facts = encoded.map(
    (row, i): RowFacts => ({
      line: rows[i].line,
      tokens: row.ids.length + row.cut,
      labelled: row.labelled ?? labelCount(row.labels),
      ...(row.merged && { merged: true }),
    }),
  );
  const classes = label?.classes ?? tags?.classes;
  return { columns, facts, ...(classes && { classes }) };
}

export const labelCount = (labels: readonly number[] | undefined): number | undefined =>
  labels?.reduce((count, label) => count + Number(label !== IGNORED), 0);

/** P0711: rows in which nothing is left to learn. `starts`: how many tokens stand before the first that has a label, before cutting; -1: none has. */
export function refuseEmpty(
  rows: readonly Row[],
  labels: readonly (readonly number[] | undefined)[],
  starts: readonly number[],
  { file, sequence, written = false }: { readonly file: string; readonly sequence: number | undefined; readonly written?: boolean },
): void {
  const nothing = (i: number) => labels[i]?.every((label) => label === IGNORED) === true;
  const empty = rows.flatMap((_, i) => (nothing(i) && !(written && starts[i] < 0) ? [i] : []));
  if (empty.length === 0) return;
  const [first] = empty;
  const cut = starts[first] >= 0;
  const what = cut
    ? `the answer starts behind ${starts[first]} tokens, so sequence = ${sequence} leaves nothing of it`
    : "there is nothing to learn in it: its answer is empty, or it has none";
  throw new InputError("P0711", `\`${file}\`, line ${rows[first].line}: ${what}`, [
    ...(empty.length > 1 ? [`so it is with ${empty.length} of ${rows.length} rows`] : []),
    ...(cut ? ["give a larger sequence, or shorten what stands before the answers"] : []),
  ]);
}

/**
 * The column `label` of the rows `part`: one number a row, or a list of numbers a row, one for each of the classes that may be true at once. All rows are looked at, so
 * that names get the same numbers in either part. Errors as of `readLabels` and `readArray`.
 */
export function labelColumn(
  rows: readonly Row[],
  name: string,
  numbering: Numbering,
  file: string,
  part: readonly [number, number?],
): { readonly column: Column; readonly classes?: ClassNames } {
  if (rows.length > 0 && Array.isArray(rows[0].values[name])) return { column: givenColumn(rows.slice(...part), name, file) };
  const { numbers, classes } = readLabels(rows, name, numbering, file);
  return { column: numberColumn(numbers.slice(...part)), ...(classes && { classes }) };
}

export function givenColumn(rows: readonly Row[], name: string, file: string): Column {
  const arrays = rows.map((row) => readArray(row, name, file));
  const rank = arrays[0]?.shape.length ?? 0;
  const odd = arrays.findIndex(({ shape }) => shape.length !== rank);
  if (odd >= 0)
    throw new InputError(
      "P0709",
      `\`${file}\`, line ${rows[odd].line}: column \`${name}\` has ${arrays[odd].shape.length} axes, other rows have ${rank}`,
    );
  // classes of tokens stop where the text does
  return arrayColumn(arrays, rank, name === "labels" || name === "tags" ? IGNORED : 0);
}

/** A column's value as text, filtered. P0705: missing · P0709: a list or an object. */
function textOf(row: Row, { column, filters, behind }: Slot, file: string, lower: boolean): string {
  const value = row.values[column];
  if (behind !== undefined) {
    // a column that may be empty takes the line that it would have with it
    if (value === undefined || value === null || value === "") return "";
    return textOf(row, { column, filters }, file, lower) + behind;
  }
  if (value === undefined || value === null) throw missing(row, column, file);
  if (typeof value === "object" && !(value instanceof Numeral))
    throw new InputError("P0709", `\`${file}\`, line ${row.line}: column \`${column}\` is ${describe(value)} where text is wanted`, [
      ...(isWords(value as Json)
        ? [`a list of words is read alone, as in \`input: "{${column}}"\`, and \`label\` names their classes: \`tagging\` learns them`]
        : []),
      ...(isRecord(value) && "0" in value ? ['`table.to_json(path, orient="records", lines=True)` of pandas writes one row a line'] : []),
    ]);
  const text = applyFilters(String(value), filters);
  return lower ? text.toLowerCase() : text;
}

/** A template filled with a row's columns. */
export function renderRow(row: Row, template: Template, plan: Pick<RowPlan, "lower">, file: string): string {
  return render(template, (slot) => textOf(row, slot, file, plan.lower), "");
}

function encodeRow(row: Row, plan: RowPlan, context: EncodeContext): Encoded {
  const { tokenizer, file, sequence } = context;
  const most = sequence ?? Number.POSITIVE_INFINITY;
  if (plan.inputs.some(hasMask)) return encodeMasked(row, plan, context);
  const text = (template: Template) => renderRow(row, template, plan, file);
  const inputs = plan.inputs.map(text);
  if (plan.target === undefined || context.separate) {
    const [first, second] = inputs.map((one) => tokenizer.encode(one));
    if (plan.target === undefined) {
      const framed = tokenizer.frame(first, second, most);
      return context.open ? opened(framed, tokenizer) : framed;
    }
    const answer = tokenizer.frame(tokenizer.encode(text(plan.target)), undefined, most);
    return { ...tokenizer.frame(first, second, most), labels: answer.ids, labelled: answer.ids.length + answer.cut, start: 0 };
  }
  const target = text(plan.target);
  const both = tokenizer.encodeBehind(inputs.at(-1)!, target);
  const framed = inputs.length > 1 ? tokenizer.frame(tokenizer.encode(inputs[0]), both.first) : tokenizer.frame(both.first, undefined);
  return { ...followed(framed, target === "" ? [] : both.second, most, tokenizer), merged: both.merged };
}

/** The target behind the input, in one row; what the tokenizer puts behind a text comes behind both. */
function followed(input: Framed, target: readonly number[], most: number, tokenizer: TextTokenizer): Encoded {
  const tail = trailing(input, tokenizer);
  const head = input.ids.length - tail;
  const end = tail > 0 ? input.ids.slice(head) : tokenizer.ids.eos === undefined ? [] : [tokenizer.ids.eos];
  const whole = [...input.ids.slice(0, head), ...target, ...end];
  const ids = whole.slice(0, most);
  const labels = ids.map((id, i) => (i < head ? IGNORED : id));
  const type = input.types.at(-1) ?? 0;
  const types = ids.map((_, i) => input.types[i] ?? type);
  const special = ids.map((id, i) => (i < head ? input.special[i] : tokenizer.specials.has(id)));
  // an empty answer teaches nothing, though its end would
  if (target.length === 0) labels.fill(IGNORED);
  const learnt = target.length === 0 ? { labelled: 0, start: -1 } : { labelled: whole.length - head, start: head };
  return { ids, types, special, cut: whole.length - ids.length, labels, ...learnt };
}

const listed = (row: Row, { words, lower }: RowPlan, file: string): readonly string[] =>
  readWords(row, words!, file).map((word) => (lower ? word.toLowerCase() : word));

/** Words that may have classes: the first token of each has its class, all others none. */
function encodeWords(all: readonly string[], values: readonly number[] | undefined, { tokenizer, sequence }: EncodeContext): Encoded {
  const words = wordTokens(all, tokenizer);
  const framed = tokenizer.frame(words.flat(), undefined, sequence);
  if (values === undefined) return framed;
  const classes = words.flatMap((ids, i) => ids.map((_, at) => (at === 0 ? values[i] : IGNORED)));
  const front = frontOf(tokenizer);
  const tags = framed.ids.map((_, i) => (i >= front && i - front < words.flat().length - framed.cut ? classes[i - front] : IGNORED));
  return { ...framed, tags };
}

/** Tokens of each word of a text, so that they join to the tokens of the whole. */
export function wordTokens(words: readonly string[], tokenizer: TextTokenizer): number[][] {
  return words.map((word, i) => tokenizer.encode(i === 0 ? word : ` ${word}`));
}

export const wordsOf = (text: string): string[] => text.split(/\s+/).filter((word) => word !== "");

/** How many special tokens stand in front of a text. */
export function frontOf(tokenizer: TextTokenizer): number {
  // a text of one token that no vocabulary has, to be found again
  return tokenizer.frame([-1], undefined).ids.indexOf(-1);
}

/** Without the special tokens that end it. */
function opened(framed: Framed, tokenizer: TextTokenizer): Framed {
  const length = framed.ids.length - trailing(framed, tokenizer);
  const [ids, types, special] = [framed.ids.slice(0, length), framed.types.slice(0, length), framed.special.slice(0, length)];
  return { ...framed, ids, types, special };
}

/** How many special tokens a row ends with. */
function trailing({ ids, special }: Framed, tokenizer: TextTokenizer): number {
  let count = 0;
  while (count < ids.length && special[ids.length - 1 - count] && tokenizer.specials.has(ids[ids.length - 1 - count])) count++;
  return count;
}

/** A cloze: what the template says stays whole; where the row is too long, the longest column loses words at its end. */
function encodeMasked(row: Row, plan: RowPlan, { tokenizer, file, sequence }: EncodeContext): Encoded {
  const most = sequence ?? Number.POSITIVE_INFINITY;
  const mask = tokenizer.ids.mask;
  const token = tokenizer.tokenOf(mask)!;
  const slots = [...new Set(plan.inputs.flatMap((template) => template.pieces.filter((piece) => typeof piece === "object")))];
  const words = new Map(slots.map((slot) => [slot, textOf(row, slot, file, plan.lower).split(/(?<=\s)/)]));
  /** The row with at most `level` words of each column: what sticks out longest goes first. */
  const framed = (level: number) => {
    const value = (slot: Slot) => {
      const all = words.get(slot)!;
      return all.length <= level ? all.join("") : all.slice(0, level).join("").trimEnd();
    };
    const [first, second] = plan.inputs.map((template) => tokenizer.encode(render(template, value, token)));
    return tokenizer.frame(first, second);
  };
  let made = framed(Number.POSITIVE_INFINITY);
  const full = made.ids.length;
  if (made.ids.length > most) {
    let low = 0;
    let high = Math.max(0, ...[...words.values()].map((all) => all.length));
    if (framed(0).ids.length > most) {
      const source = JSON.stringify(plan.inputs[0].source);
      throw new InputError(
        "P0712",
        `\`${file}\`, line ${row.line}: the template ${source} alone takes ${framed(0).ids.length} tokens, more than sequence = ${sequence}`,
      );
    }
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (framed(middle).ids.length <= most) low = middle;
      else high = middle - 1;
    }
    made = framed(low);
  }
  const places = made.ids.flatMap((id, i) => (id === mask ? [i] : []));
  const wanted = plan.inputs.reduce((sum, template) => sum + masksOf(template), 0);
  if (places.length !== wanted)
    throw new InputError(
      "P0712",
      `\`${file}\`, line ${row.line} has ${places.length} mask tokens where the template's ${wanted === 1 ? "one is" : `${wanted} are`} wanted`,
      [`does the text itself contain ${token}?`],
    );
  return { ...made, cut: full - made.ids.length, masksAt: places };
}
