/**
 * Runs the pickles that hold weights, and nothing else: the machine knows numbers, texts, lists, tuples, dictionaries and references to bytes; names of Python functions are
 * texts, of which `call` may know some, and no other can be called. Protocols 0 to 5 as far as `torch.save` uses them.
 */
import { InputError } from "../../ir/errors.ts";

export class Global {
  constructor(readonly name: string) {}
}
/** What `persistent_id` gave: torch's reference to a storage. */
export class Reference {
  constructor(readonly id: Pickled) {}
}
export type Pickled =
  | null
  | undefined
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Pickled[]
  | Map<Pickled, Pickled>
  | Global
  | Reference
  | object;

const MARK = Symbol("mark");

export interface Ran {
  readonly value: Pickled;
  /** First byte behind the pickle. */
  readonly end: number;
}

/**
 * The value of the pickle that begins at `start`. `call` gives what a known function makes of its arguments, and `undefined` for one that it does not know. P0669: a
 * call of anything else, an instruction that weights have no use for, or no sound pickle.
 */
export function runPickle(
  file: string,
  bytes: Uint8Array,
  start: number,
  call: (name: string, args: readonly Pickled[]) => Pickled | undefined,
): Ran {
  const bad = (what: string) =>
    new InputError("P0669", `\`${file}\` is no file of weights that is read safely: ${what}`, ["save it as safetensors"]);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: (Pickled | typeof MARK)[] = [];
  const memo = new Map<number, Pickled>();
  let at = start;
  const need = (n: number) => {
    if (n < 0 || at + n > bytes.length) throw bad("it ends in the middle");
    at += n;
    return at - n;
  };
  const pop = (): Pickled => {
    const top = stack.pop();
    if (stack.length === 0 && top === undefined) throw bad("its stack is empty");
    if (top === MARK) throw bad("a mark stands where a value is wanted");
    return top as Pickled;
  };
  const top = (): Pickled => {
    const value = pop();
    stack.push(value);
    return value;
  };
  const sinceMark = (): Pickled[] => {
    const mark = stack.lastIndexOf(MARK);
    if (mark < 0) throw bad("it has no mark where one is wanted");
    return stack.splice(mark).slice(1) as Pickled[];
  };
  const text = (from: number, length: number): string => {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(from, from + length));
    } catch {
      throw bad("a text is not UTF-8");
    }
  };
  const line = (): string => {
    const end = bytes.indexOf(10, at);
    if (end < 0) throw bad("it ends in the middle");
    const from = at;
    at = end + 1;
    return text(from, end - from);
  };
  const long = (length: number): number | bigint => {
    const from = need(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i]);
    if (length > 0 && bytes[from + length - 1] & 0x80) value -= 1n << BigInt(8 * length);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  };
  const big = (from: number): number => {
    const length = Number(view.getBigUint64(from, true));
    if (!Number.isSafeInteger(length)) throw bad("it ends in the middle");
    return length;
  };
  const set = (pairs: Pickled[]) => {
    const map = top();
    if (!(map instanceof Map) || pairs.length % 2 === 1) throw bad("entries are put into what is no dictionary");
    for (let i = 0; i < pairs.length; i += 2) map.set(pairs[i], pairs[i + 1]);
  };
  const append = (values: Pickled[]) => {
    const list = top();
    if (!Array.isArray(list)) throw bad("elements are put into what is no list");
    for (const value of values) list.push(value);
  };
  const remembered = (n: number): Pickled => {
    if (!memo.has(n)) throw bad(`it reads the memo's ${n}, which was never written`);
    return memo.get(n);
  };
  for (;;) {
    const op = bytes[need(1)];
    switch (op) {
      case 0x80: // PROTO
        if (bytes[need(1)] > 5) throw bad("it is of a newer protocol than 5");
        break;
      case 0x95: // FRAME
        need(8);
        break;
      case 0x2e: // STOP
        return { value: pop(), end: at };
      case 0x28: // MARK
        stack.push(MARK);
        break;
      case 0x30: // POP
        stack.pop();
        break;
      case 0x31: // POP_MARK
        sinceMark();
        break;
      case 0x4e: // NONE
        stack.push(null);
        break;
      case 0x88: // NEWTRUE
      case 0x89: // NEWFALSE
        stack.push(op === 0x88);
        break;
      case 0x4a: // BININT
        stack.push(view.getInt32(need(4), true));
        break;
      case 0x4b: // BININT1
        stack.push(bytes[need(1)]);
        break;
      case 0x4d: // BININT2
        stack.push(view.getUint16(need(2), true));
        break;
      case 0x8a: // LONG1
        stack.push(long(bytes[need(1)]));
        break;
      case 0x47: // BINFLOAT
        stack.push(view.getFloat64(need(8), false));
        break;
      case 0x49: // INT
      case 0x4c: {
        // LONG
        const word = line().replace(/L$/, "");
        if (op === 0x49 && (word === "00" || word === "01")) stack.push(word === "01");
        else if (/^[+-]?\d{1,4000}$/.test(word)) stack.push(Number.isSafeInteger(Number(word)) ? Number(word) : BigInt(word));
        else throw bad("a number is none");
        break;
      }
      case 0x8c: {
        // SHORT_BINUNICODE
        const length = bytes[need(1)];
        stack.push(text(need(length), length));
        break;
      }
      case 0x58: {
        // BINUNICODE
        const length = view.getUint32(need(4), true);
        stack.push(text(need(length), length));
        break;
      }
      case 0x8d: {
        // BINUNICODE8
        const length = big(need(8));
        stack.push(text(need(length), length));
        break;
      }
      case 0x55: {
        // SHORT_BINSTRING, of Python 2
        const length = bytes[need(1)];
        stack.push(text(need(length), length));
        break;
      }
      case 0x54: {
        // BINSTRING
        const length = view.getInt32(need(4), true);
        stack.push(text(need(length), length));
        break;
      }
      case 0x43: // SHORT_BINBYTES
      case 0x42: {
        // BINBYTES
        const length = op === 0x43 ? bytes[need(1)] : view.getUint32(need(4), true);
        const from = need(length);
        stack.push(bytes.slice(from, from + length));
        break;
      }
      case 0x5d: // EMPTY_LIST
        stack.push([]);
        break;
      case 0x6c: // LIST
      case 0x74: // TUPLE
        stack.push(sinceMark());
        break;
      case 0x29: // EMPTY_TUPLE
        stack.push([]);
        break;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: {
        // TUPLE3
        const items: Pickled[] = [];
        for (let i = 0x84; i < op; i++) items.unshift(pop());
        stack.push(items);
        break;
      }
      case 0x7d: // EMPTY_DICT
        stack.push(new Map());
        break;
      case 0x64: {
        // DICT
        const pairs = sinceMark();
        stack.push(new Map());
        set(pairs);
        break;
      }
      case 0x61: // APPEND
        append([pop()]);
        break;
      case 0x65: // APPENDS
        append(sinceMark());
        break;
      case 0x73: {
        // SETITEM
        const value = pop();
        set([pop(), value]);
        break;
      }
      case 0x75: // SETITEMS
        set(sinceMark());
        break;
      case 0x71: // BINPUT
        memo.set(bytes[need(1)], top());
        break;
      case 0x72: // LONG_BINPUT
        memo.set(view.getUint32(need(4), true), top());
        break;
      case 0x94: // MEMOIZE
        memo.set(memo.size, top());
        break;
      case 0x70: // PUT
        memo.set(Number(line()), top());
        break;
      case 0x68: // BINGET
        stack.push(remembered(bytes[need(1)]));
        break;
      case 0x6a: // LONG_BINGET
        stack.push(remembered(view.getUint32(need(4), true)));
        break;
      case 0x67: // GET
        stack.push(remembered(Number(line())));
        break;
      case 0x63: {
        // GLOBAL
        const module = line();
        stack.push(new Global(`${module}.${line()}`));
        break;
      }
      case 0x93: {
        // STACK_GLOBAL
        const name = pop();
        stack.push(new Global(`${String(pop())}.${String(name)}`));
        break;
      }
      case 0x51: // BINPERSID
        stack.push(new Reference(pop()));
        break;
      case 0x52: // REDUCE
      case 0x81: {
        // NEWOBJ
        const args = pop();
        const made = pop();
        if (!(made instanceof Global) || !Array.isArray(args)) throw bad("it calls what is no function");
        const value = call(made.name, args);
        if (value === undefined) throw bad(`it calls \`${made.name}\`, which weights have no use for`);
        stack.push(value);
        break;
      }
      case 0x62: {
        // BUILD: `_metadata` of a dictionary of weights, and nothing else
        pop();
        if (!(top() instanceof Map)) throw bad("it sets the attributes of an object");
        break;
      }
      default:
        throw bad(`it has the instruction 0x${op.toString(16)}, which weights have no use for`);
    }
  }
}
