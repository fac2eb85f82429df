/**
 * Templates as Python's Jinja renders them, over `@huggingface/jinja`. What that library spells as JavaScript does (`true`, `null`, `0.00001`, lists as JSON) is spelt as Python does:
 * what a template prints, joins with `~` or hands to `string` and `tojson` goes through functions of our own, which are put into the parsed template.
 */

import { Environment, parse, tokenize } from "@huggingface/jinja";
import { Malformed } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { pythonFloat } from "../files.ts";
import { Numeral } from "../numeral.ts";
import { BoundedInterpreter, RANGE } from "./jinja-bounds.ts";
import { added, equal, KINDS, type Runtime } from "./jinja-values.ts";

const SYNTAX = (() => {
  const call = parse(tokenize("{{ f(x) }}")).body[0] as unknown as { constructor: unknown; callee: { constructor: unknown } };
  return {
    Call: call.constructor as new (callee: unknown, args: unknown[]) => unknown,
    Name: call.callee.constructor as new (name: string) => unknown,
  };
})();

const PRINT = "\uFDD0print";
const JOIN = "\uFDD0join";
const DUMP = "\uFDD0dump";
const ADD = "\uFDD0add";
const EQUAL = "\uFDD0equal";
const OTHER = "\uFDD0other";
/** Operators that the library has JavaScript's way: a text and an object have a sum, 1 and "1" are equal. */
const OPERATORS: Readonly<Record<string, string>> = { "~": JOIN, "+": ADD, "==": EQUAL, "!=": OTHER };

/** Throws what the library's parser throws. */
export class JinjaTemplate {
  private readonly program: ReturnType<typeof parse>;

  constructor(readonly source: string) {
    // Jinja reads every kind of line end as one
    const lines = source.replace(/\r\n?/g, "\n");
    this.program = mended(parse(tokenize(lines, { lstrip_blocks: true, trim_blocks: true }))) as ReturnType<typeof parse>;
  }

  /** `now`: the day that `strftime_now` tells; without it today's. */
  render(values: Readonly<Record<string, unknown>>, now?: Date): string {
    const env = new Environment();
    const variables = env.variables as Map<string, unknown>;
    for (const [name, constant] of Object.entries(CONSTANTS)) variables.set(name, runtime(constant));
    const define = (name: string, call: (args: Runtime[]) => Runtime) => variables.set(name, new KINDS.Function(call));
    const text = (value: string) => new KINDS.String(value);
    define("raise_exception", ([why]) => {
      throw new Malformed(why === undefined ? "" : str(why));
    });
    define("range", (args) => runtime(range(args.map(({ value }) => Number(value)))));
    define("strftime_now", ([format]) => text(strftime(now ?? new Date(), String(format?.value ?? ""))));
    define(PRINT, ([value]) => text(str(value)));
    define(JOIN, ([a, b]) => text(str(a) + str(b)));
    define(ADD, ([a, b]) => added(a, b));
    define(EQUAL, ([a, b]) => new KINDS.Boolean(equal(a, b)));
    define(OTHER, ([a, b]) => new KINDS.Boolean(!equal(a, b)));
    define(DUMP, ([value, ...options]) => text(dump(value, dumpOptions(options), 0)));
    for (const [name, value] of Object.entries(values)) if (value !== undefined) variables.set(name, runtime(value));
    return String(new BoundedInterpreter(env).run(this.program).value);
  }
}

const CONSTANTS: Readonly<Record<string, boolean | null>> = { true: true, false: false, none: null, True: true, False: false, None: null };

function range([first = 0, second, step = 1]: readonly number[]): number[] {
  const [start, end] = second === undefined ? [0, first] : [first, second];
  if (step === 0) throw new Malformed("range() arg 3 must not be zero");
  if (Math.abs((end - start) / step) > RANGE) throw new Malformed(`range() of more than ${RANGE} numbers`);
  return Array.from({ length: Math.max(0, Math.ceil((end - start) / step)) }, (_, i) => start + i * step);
}

/** JSON as values of the library, numbers with the spelling that they had. */
function runtime(value: unknown): Runtime {
  if (value instanceof Numeral) {
    if (!value.whole) return new KINDS.Float(value.value);
    const made = new KINDS.Integer(value.value);
    made.written = value.text.replace(/^-0+$/, "0");
    return made;
  }
  if (typeof value === "number") return new (Number.isInteger(value) ? KINDS.Integer : KINDS.Float)(value);
  if (typeof value === "string") return new KINDS.String(value);
  if (typeof value === "boolean") return new KINDS.Boolean(value);
  if (Array.isArray(value)) return new KINDS.Array(value.map(runtime));
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
    return new KINDS.Object(new Map(entries.map(([name, inner]) => [name, runtime(inner)])));
  }
  return new KINDS.Null(null);
}

type Node = Record<string, unknown> & { readonly type?: string };
/** Lists of statements, where an expression is something to print. */
const BLOCKS = ["body", "alternate", "defaultBlock"];
const STATEMENTS = new Set(["Set", "If", "For", "Macro", "CallStatement", "FilterStatement", "Break", "Continue", "Comment", "Program"]);

const TEXTUAL = new Set(["upper", "lower", "title", "capitalize", "trim", "replace", "indent"]);

const call = (name: string, args: unknown[]) => new SYNTAX.Call(new SYNTAX.Name(name), args);

/** The parsed template with our functions in the places of the library's. */
function mended(part: unknown): unknown {
  if (Array.isArray(part)) return part.map(mended);
  if (part instanceof Map) return new Map([...part].map(([key, value]) => [mended(key), mended(value)]));
  if (typeof part !== "object" || part === null) return part;
  const node = part as Node;
  for (const key of Object.keys(node)) node[key] = mended(node[key]);
  for (const key of BLOCKS) {
    const block = node[key];
    if (Array.isArray(block)) node[key] = block.map((entry: Node) => (isPrinted(entry) ? call(PRINT, [entry]) : entry));
  }
  if (node.type === "BinaryExpression") {
    const ours = own(OPERATORS, (node.operator as { value: string }).value);
    if (ours !== undefined) return call(ours, [node.left, node.right]);
  }
  if (node.type === "FilterExpression") {
    const filter = node.filter as Node;
    const bare = filter.type === "CallExpression" ? (filter.callee as Node) : filter;
    const args = filter.type === "CallExpression" ? (filter.args as unknown[]) : [];
    if (bare.value === "tojson") return call(DUMP, [node.operand, ...args]);
    if (bare.value === "string") return call(PRINT, [node.operand]);
    // they are given texts by the library alone, and anything by Jinja
    if (TEXTUAL.has(String(bare.value))) node.operand = call(PRINT, [node.operand]);
  }
  return node;
}

const isPrinted = ({ type }: Node): boolean => type !== undefined && type !== "StringLiteral" && !STATEMENTS.has(type);

/** Python's `str`. */
function str(value: Runtime | undefined): string {
  if (value === undefined || value.type === "UndefinedValue") return "";
  return value.type === "StringValue" ? String(value.value) : repr(value);
}

/** Python's `repr`. */
function repr(value: Runtime): string {
  switch (value.type) {
    case "StringValue":
      return quoted(String(value.value));
    case "IntegerValue":
      return value.written ?? BigInt(value.value as number).toString();
    case "FloatValue":
      return pythonFloat(value.value as number);
    case "BooleanValue":
      return value.value ? "True" : "False";
    case "NullValue":
      return "None";
    case "UndefinedValue":
      return "Undefined";
    case "ArrayValue":
      return `[${(value.value as Runtime[]).map(repr).join(", ")}]`;
    case "TupleValue": {
      const items = (value.value as Runtime[]).map(repr);
      return `(${items.join(", ")}${items.length === 1 ? "," : ""})`;
    }
    case "ObjectValue":
    case "KeywordArgumentsValue":
      return `{${[...(value.value as Map<string, Runtime>)].map(([name, inner]) => `${quoted(name)}: ${repr(inner)}`).join(", ")}}`;
    default:
      throw new Malformed(`${value.type} cannot be printed`);
  }
}

function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inside = text.replace(/[\\'"\p{Cc}\p{Cn}\p{Cs}\p{Co}\p{Cf}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, (char) => {
    if (char === "\\") return "\\\\";
    if (char === "'" || char === '"') return char === mark ? `\\${char}` : char;
    const known = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[char];
    if (known !== undefined) return known;
    const code = char.codePointAt(0)!;
    if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
  });
  return mark + inside + mark;
}

/** Python's `json.dumps(value, ensure_ascii=False)`. */
export const pythonDumps = (value: unknown): string => dump(runtime(value), dumpOptions([]), 0);

interface DumpOptions {
  readonly ascii: boolean;
  readonly indent: number | undefined;
  readonly separators: readonly [string, string];
  readonly sort: boolean;
}

/** transformers' filter: `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`. */
function dumpOptions(args: readonly Runtime[]): DumpOptions {
  const named = args.find(({ type }) => type === "KeywordArgumentsValue")?.value as Map<string, Runtime> | undefined;
  const given = args.filter(({ type }) => type !== "KeywordArgumentsValue");
  const option = (name: string, place: number) => (named?.get(name) ?? given[place])?.value;
  const indent = option("indent", 1);
  const separators = option("separators", 2) as readonly Runtime[] | null | undefined;
  return {
    ascii: option("ensure_ascii", 0) === true,
    indent: typeof indent === "number" ? indent : undefined,
    separators: separators ? [str(separators[0]), str(separators[1])] : [typeof indent === "number" ? "," : ", ", ": "],
    sort: option("sort_keys", 3) === true,
  };
}

/** Python's `json.dumps`. */
function dump(value: Runtime | undefined, options: DumpOptions, depth: number): string {
  const { ascii, indent, separators, sort } = options;
  const text = (plain: string) =>
    ascii
      ? JSON.stringify(plain).replace(/[\x7f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)
      : JSON.stringify(plain);
  const lines = (open: string, items: readonly string[], close: string) => {
    if (indent === undefined || items.length === 0) return `${open}${items.join(separators[0])}${close}`;
    const [inner, outer] = [" ".repeat(indent * (depth + 1)), " ".repeat(indent * depth)];
    return `${open}\n${items.map((item) => inner + item).join(`${separators[0]}\n`)}\n${outer}${close}`;
  };
  switch (value?.type) {
    case "StringValue":
      return text(String(value.value));
    case "IntegerValue":
    case "FloatValue":
      return repr(value).replace("nan", "NaN");
    case "BooleanValue":
      return String(value.value);
    case "NullValue":
      return "null";
    case "ArrayValue":
    case "TupleValue":
      return lines(
        "[",
        (value.value as Runtime[]).map((item) => dump(item, options, depth + 1)),
        "]",
      );
    case "ObjectValue": {
      const entries = [...(value.value as Map<string, Runtime>)];
      if (sort) entries.sort(([a], [b]) => (a < b ? -1 : 1));
      return lines(
        "{",
        entries.map(([name, inner]) => `${text(name)}${separators[1]}${dump(inner, options, depth + 1)}`),
        "}",
      );
    }
    default:
      throw new Malformed(`Object of type ${value?.type ?? "Undefined"} is not JSON serializable`);
  }
}

const MONTHS = "January February March April May June July August September October November December".split(" ");
const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

/** Python's `strftime` with English names, for the letters that templates use. */
function strftime(date: Date, format: string): string {
  const two = (n: number) => String(n).padStart(2, "0");
  const parts: Readonly<Record<string, string>> = {
    Y: String(date.getFullYear()),
    y: two(date.getFullYear() % 100),
    m: two(date.getMonth() + 1),
    d: two(date.getDate()),
    B: MONTHS[date.getMonth()],
    b: MONTHS[date.getMonth()].slice(0, 3),
    A: DAYS[date.getDay()],
    a: DAYS[date.getDay()].slice(0, 3),
    H: two(date.getHours()),
    I: two(((date.getHours() + 11) % 12) + 1),
    M: two(date.getMinutes()),
    S: two(date.getSeconds()),
    p: date.getHours() < 12 ? "AM" : "PM",
    j: String(
      Math.floor((Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / 864e5) + 1,
    ).padStart(3, "0"),
    "%": "%",
  };
  return format.replace(/%(-?)(.)/g, (all, bare: string, letter: string) => {
    const part = parts[letter];
    if (part === undefined) throw new Malformed(`strftime_now does not know ${all}`);
    return bare === "" ? part : part.replace(/^0+(?=\d)/, "");
  });
}
