/** Rows of text to rows of tokens: what a table's `input`, `target` and `label` say. */
import { InputError } from "../../ir/errors.ts";
import { describe } from "../files.ts";
import type { Framed, TextTokenizer } from "../tokenizer/tokenizer.ts";
import { missing, readArray, readLabels } from "./labels.ts";
import type { Row } from "./records.ts";
import { arrayColumn, type Column, listColumn, numberColumn } from "./table.ts";
import { applyFilters, hasMask, render, type Slot, type Template } from "./template.ts";

/** What labels are where nothing is to be learnt. */
export const IGNORED = -100;

export interface RowPlan {
  /** One text, or two. */
  readonly inputs: readonly Template[];
  readonly target: Template | undefined;
  readonly label: string | undefined;
  readonly columns: readonly string[];
}

export interface EncodeContext {
  readonly file: string;
  readonly tokenizer: TextTokenizer;
  /** Most tokens a row may have; none: as many as it needs. */
  readonly sequence: number | undefined;
  /** Whether the target has a sequence of its own (encoder–decoders), or follows the input. */
  readonly separate: boolean;
  readonly labels: ReadonlyMap<string, number> | undefined;
}

interface Encoded extends Framed {
  readonly labels: readonly number[] | undefined;
  readonly maskAt: number | undefined;
}

/**
 * Columns `input_ids`, `attention_mask`, `special`, `token_type_ids`, where there is a target `labels`, where there is a mask `mask_at`, where there is a label `label`, and those
 * asked for. P0710: the tokenizer has no mask · P0711: nothing is left of a row's target · P0712: the mask does not fit · P0713: `sequence` is smaller than what goes around a text.
 */
export function encodeRows(rows: readonly Row[], plan: RowPlan, context: EncodeContext): Map<string, Column> {
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
  const encoded = rows.map((row) => encodeRow(row, plan, context));
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
  if (plan.target !== undefined)
    columns.set(
      "labels",
      listColumn(
        encoded.map((row) => row.labels!),
        IGNORED,
      ),
    );
  if (masked) columns.set("mask_at", numberColumn(encoded.map((row) => row.maskAt!)));
  if (plan.label !== undefined) columns.set("label", numberColumn(readLabels(rows, plan.label, context.labels, file)));
  for (const name of plan.columns) columns.set(name, givenColumn(rows, name, file));
  return columns;
}

function givenColumn(rows: readonly Row[], name: string, file: string): Column {
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
function textOf(row: Row, { column, filters }: Slot, file: string): string {
  const value = row.values[column];
  if (value === undefined || value === null) throw missing(row, column, file);
  if (typeof value === "object")
    throw new InputError("P0709", `\`${file}\`, line ${row.line}: column \`${column}\` is ${describe(value)} where text is wanted`);
  return applyFilters(String(value), filters);
}

function encodeRow(row: Row, plan: RowPlan, context: EncodeContext): Encoded {
  const { tokenizer, file, sequence } = context;
  const most = sequence ?? Number.POSITIVE_INFINITY;
  const value = (slot: Slot) => textOf(row, slot, file);
  if (plan.inputs.some(hasMask)) return encodeMasked(row, plan, context);
  const [first, second] = plan.inputs.map((template) => tokenizer.encode(render(template, value, "")));
  if (plan.target === undefined) return { ...tokenizer.frame(first, second, most), labels: undefined, maskAt: undefined };
  const target = tokenizer.encode(render(plan.target, value, ""));
  if (context.separate) {
    return { ...tokenizer.frame(first, second, most), labels: tokenizer.frame(target, undefined, most).ids, maskAt: undefined };
  }
  return followed(row, tokenizer.frame(first, second), target, most, context);
}

/** The target behind the input, in one row; what the tokenizer puts behind a text comes behind both. */
function followed(row: Row, input: Framed, target: readonly number[], most: number, { tokenizer, file, sequence }: EncodeContext): Encoded {
  const tail = trailing(input, tokenizer);
  const head = input.ids.length - tail;
  const end = tail > 0 ? input.ids.slice(head) : tokenizer.ids.eos === undefined ? [] : [tokenizer.ids.eos];
  const ids = [...input.ids.slice(0, head), ...target, ...end].slice(0, most);
  const labels = ids.map((id, i) => (i < head ? IGNORED : id));
  if (ids.length <= head) {
    throw new InputError(
      "P0711",
      `\`${file}\`, line ${row.line}: the prompt takes ${head} tokens, so sequence = ${sequence} leaves nothing of the answer`,
      ["give a larger sequence, or shorten the prompt"],
    );
  }
  const type = input.types.at(-1) ?? 0;
  const types = ids.map((_, i) => input.types[i] ?? type);
  const special = ids.map((id, i) => (i < head ? input.special[i] : tokenizer.specials.has(id)));
  return { ids, types, special, cut: 0, labels, maskAt: undefined };
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
  const words = new Map(slots.map((slot) => [slot, textOf(row, slot, file).split(/(?<=\s)/)]));
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
  if (places.length !== 1)
    throw new InputError("P0712", `\`${file}\`, line ${row.line} has ${places.length} mask tokens where the template's one is wanted`, [
      `does the text itself contain ${token}?`,
    ]);
  return { ...made, labels: undefined, maskAt: places[0] };
}
