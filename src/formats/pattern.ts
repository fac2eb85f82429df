/**
 * Regular expressions that come with other people's folders, matched in time that grows with pattern times text, whatever they say: each place of
 * the pattern is tried once at each place of the text. Python's and JavaScript's common ground: groups, classes, repetition, anchors, looking ahead
 * and behind. Not references back to a group, which no such bound is known for.
 */

type Code =
  | { readonly op: "char"; readonly fits: (code: number) => boolean }
  | { readonly op: "split"; first: number; second: number }
  | { readonly op: "jump"; to: number }
  | { readonly op: "save"; readonly slot: number }
  | { readonly op: "at"; readonly where: "start" | "end" | "edge" | "inside" }
  | { readonly op: "look"; readonly ahead: boolean; readonly wanted: boolean; readonly program: readonly Code[] }
  | { readonly op: "match" };

type Tree =
  | { readonly kind: "char"; readonly fits: (code: number) => boolean }
  | { readonly kind: "at"; readonly where: "start" | "end" | "edge" | "inside" }
  | { readonly kind: "seq"; readonly parts: readonly Tree[] }
  | { readonly kind: "or"; readonly parts: readonly Tree[] }
  | { readonly kind: "group"; readonly slot: number; readonly inner: Tree }
  | { readonly kind: "look"; readonly ahead: boolean; readonly wanted: boolean; readonly inner: Tree }
  | { readonly kind: "repeat"; readonly inner: Tree; readonly least: number; readonly most: number; readonly lazy: boolean };

/** Places that a pattern may have once its repetitions are written out. */
const LARGEST = 20_000;
/** Groups inside each other. */
const DEEPEST = 100;

const isWord = (c: number): boolean => (c >= 48 && c <= 57) || (c >= 65 && c <= 90) || (c >= 97 && c <= 122) || c === 95;
const isDigit = (c: number): boolean => c >= 48 && c <= 57;
const isSpace = (c: number): boolean => /\s/u.test(String.fromCodePoint(c));
const CLASSES: ReadonlyMap<string, (code: number) => boolean> = new Map([
  ["d", isDigit],
  ["D", (c: number) => !isDigit(c)],
  ["w", isWord],
  ["W", (c: number) => !isWord(c)],
  ["s", isSpace],
  ["S", (c: number) => !isSpace(c)],
]);
const CONTROLS: ReadonlyMap<string, string> = new Map([
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
  ["f", "\f"],
  ["v", "\v"],
]);

/** Reads a pattern. Throws `SyntaxError` for what it cannot read. */
class Reader {
  private readonly chars: readonly string[];
  private at = 0;
  private depth = 0;
  slots = 1;
  constructor(text: string) {
    this.chars = [...text];
  }
  whole(): Tree {
    const tree = this.alternatives();
    if (this.at < this.chars.length) throw new SyntaxError("a bracket is closed that was never opened");
    return tree;
  }
  private take(text: string): boolean {
    const found = [...text].every((c, i) => this.chars[this.at + i] === c);
    if (found) this.at += text.length;
    return found;
  }
  private alternatives(): Tree {
    if (++this.depth > DEEPEST) throw new SyntaxError("its groups are nested too deep");
    const parts: Tree[] = [];
    do parts.push(this.sequence());
    while (this.take("|"));
    this.depth--;
    return parts.length === 1 ? parts[0] : { kind: "or", parts };
  }
  private sequence(): Tree {
    const parts: Tree[] = [];
    for (let c = this.chars[this.at]; c !== undefined && c !== "|" && c !== ")"; c = this.chars[this.at]) parts.push(this.repeated());
    return { kind: "seq", parts };
  }
  private repeated(): Tree {
    let tree = this.atom();
    for (;;) {
      const bounds = this.bounds();
      if (bounds === undefined) return tree;
      tree = { kind: "repeat", inner: tree, least: bounds[0], most: bounds[1], lazy: this.take("?") };
      if (this.chars[this.at] === "+") throw new SyntaxError("possessive repetition is not read");
    }
  }
  private bounds(): readonly [number, number] | undefined {
    if (this.take("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.take("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.take("?")) return [0, 1];
    const found = /^\{(\d{1,5})(,?)(\d{0,5})\}/.exec(this.chars.slice(this.at, this.at + 14).join(""));
    if (found === null) return undefined;
    this.at += found[0].length;
    const least = Number(found[1]);
    const most = found[2] === "" ? least : found[3] === "" ? Number.POSITIVE_INFINITY : Number(found[3]);
    if (most < least) throw new SyntaxError("the numbers of a repetition are the wrong way round");
    return [least, most];
  }
  private atom(): Tree {
    const c = this.chars[this.at++];
    if (c === "(") return this.group();
    if (c === "[") return { kind: "char", fits: this.set() };
    if (c === ".") return { kind: "char", fits: (code) => code !== 10 };
    if (c === "^") return { kind: "at", where: "start" };
    if (c === "$") return { kind: "at", where: "end" };
    if (c === "*" || c === "+" || c === "?") throw new SyntaxError("there is nothing to repeat");
    if (c === "\\") {
      const next = this.chars[this.at];
      if (next === "b" || next === "B") {
        this.at++;
        return { kind: "at", where: next === "b" ? "edge" : "inside" };
      }
      if (next === "A" || next === "Z") {
        this.at++;
        return { kind: "at", where: next === "A" ? "start" : "end" };
      }
      return { kind: "char", fits: this.escape() };
    }
    const code = c.codePointAt(0)!;
    return { kind: "char", fits: (x) => x === code };
  }
  private group(): Tree {
    const finish = (make: (inner: Tree) => Tree): Tree => {
      const inner = this.alternatives();
      if (!this.take(")")) throw new SyntaxError("a bracket is never closed");
      return make(inner);
    };
    if (this.take("?:")) return finish((inner) => inner);
    if (this.take("?=")) return finish((inner) => ({ kind: "look", ahead: true, wanted: true, inner }));
    if (this.take("?!")) return finish((inner) => ({ kind: "look", ahead: true, wanted: false, inner }));
    if (this.take("?<=")) return finish((inner) => ({ kind: "look", ahead: false, wanted: true, inner }));
    if (this.take("?<!")) return finish((inner) => ({ kind: "look", ahead: false, wanted: false, inner }));
    if (this.take("?P<") || this.take("?<")) {
      while (isWord(this.chars[this.at]?.codePointAt(0) ?? 0)) this.at++;
      if (!this.take(">")) throw new SyntaxError("the name of a group is never closed");
    } else if (this.take("?")) throw new SyntaxError("a group begins in a way that is not read");
    const slot = this.slots++;
    return finish((inner) => ({ kind: "group", slot, inner }));
  }
  /** What stands behind a backslash. */
  private escape(): (code: number) => boolean {
    const c = this.chars[this.at++];
    if (c === undefined) throw new SyntaxError("it ends with a backslash");
    const known = CLASSES.get(c);
    if (known) return known;
    if (c === "x" || c === "u") {
      const hex = this.chars.slice(this.at, this.at + (c === "x" ? 2 : 4)).join("");
      if (!/^[0-9a-fA-F]+$/.test(hex)) throw new SyntaxError("an escape lacks its digits");
      this.at += hex.length;
      const code = Number.parseInt(hex, 16);
      return (x) => x === code;
    }
    if (c === "p" || c === "P") {
      const name = /^\{[\w=]{1,40}\}/.exec(this.chars.slice(this.at, this.at + 42).join(""))?.[0];
      if (name === undefined) throw new SyntaxError("a property of characters lacks its name");
      this.at += name.length;
      const property = new RegExp(`\\${c}${name}`, "u");
      return (x) => property.test(String.fromCodePoint(x));
    }
    if (/[1-9]/.test(c)) throw new SyntaxError("references to groups are not read");
    const control = CONTROLS.get(c);
    if (control === undefined && /[A-Za-z]/.test(c)) throw new SyntaxError(`\\${c} is not read`);
    const code = (control ?? c).codePointAt(0)!;
    return (x) => x === code;
  }
  private set(): (code: number) => boolean {
    const negated = this.take("^");
    const fits: ((code: number) => boolean)[] = [];
    const single = (): number | ((code: number) => boolean) => {
      const c = this.chars[this.at++];
      if (c === undefined) throw new SyntaxError("a class is never closed");
      if (c !== "\\") return c.codePointAt(0)!;
      const next = this.chars[this.at];
      if (next === "b") {
        this.at++;
        return 8;
      }
      if (next !== undefined && !/[A-Za-z0-9]/.test(next)) {
        this.at++;
        return next.codePointAt(0)!;
      }
      return this.escape();
    };
    for (let first = true; first || this.chars[this.at] !== "]"; first = false) {
      if (this.at >= this.chars.length) throw new SyntaxError("a class is never closed");
      const low = single();
      if (typeof low === "number" && this.chars[this.at] === "-" && this.chars[this.at + 1] !== "]") {
        this.at++;
        const high = single();
        if (typeof high !== "number" || high < low) throw new SyntaxError("a range in a class is the wrong way round");
        fits.push((x) => x >= low && x <= high);
      } else fits.push(typeof low === "number" ? (x) => x === low : low);
    }
    this.at++;
    return (code) => fits.some((f) => f(code)) !== negated;
  }
}

function program(tree: Tree): Code[] {
  const out: Code[] = [];
  const emit = (code: Code): number => {
    if (out.length >= LARGEST) throw new SyntaxError("it repeats too much");
    return out.push(code) - 1;
  };
  const write = (t: Tree): void => {
    switch (t.kind) {
      case "char":
        emit({ op: "char", fits: t.fits });
        return;
      case "at":
        emit({ op: "at", where: t.where });
        return;
      case "seq":
        t.parts.forEach(write);
        return;
      case "group":
        emit({ op: "save", slot: 2 * t.slot });
        write(t.inner);
        emit({ op: "save", slot: 2 * t.slot + 1 });
        return;
      case "look":
        emit({ op: "look", ahead: t.ahead, wanted: t.wanted, program: program(t.inner) });
        return;
      case "or": {
        const ends: { op: "jump"; to: number }[] = [];
        t.parts.forEach((part, i) => {
          if (i === t.parts.length - 1) return write(part);
          const split: Code = { op: "split", first: out.length + 1, second: 0 };
          emit(split);
          write(part);
          const end: Code = { op: "jump", to: 0 };
          emit(end);
          ends.push(end);
          split.second = out.length;
        });
        for (const end of ends) end.to = out.length;
        return;
      }
      case "repeat": {
        for (let i = 0; i < t.least; i++) write(t.inner);
        const optional = (body: () => void): void => {
          const split: Code = { op: "split", first: 0, second: 0 };
          emit(split);
          const inside = out.length;
          body();
          [split.first, split.second] = t.lazy ? [out.length, inside] : [inside, out.length];
        };
        if (t.most === Number.POSITIVE_INFINITY) {
          const start = out.length;
          optional(() => {
            write(t.inner);
            emit({ op: "jump", to: start });
          });
        } else for (let i = t.least; i < t.most; i++) optional(() => write(t.inner));
      }
    }
  };
  write(tree);
  emit({ op: "match" });
  return out;
}

/** The end of the first match from `start` on, by priority, with what the groups hold; each place of the program once at each place of the text. */
function matchAt(code: readonly Code[], text: string, start: number, slots: number[], end?: number): number | undefined {
  const wide = text.length + 1;
  const seen = new Set<number>();
  const waiting: { pc: number; at: number; undo?: readonly [slot: number, value: number] }[] = [{ pc: 0, at: start }];
  while (waiting.length > 0) {
    const next = waiting.pop()!;
    if (next.undo !== undefined) {
      slots[next.undo[0]] = next.undo[1];
      continue;
    }
    let { pc, at } = next;
    while (!seen.has(pc * wide + at)) {
      seen.add(pc * wide + at);
      const step = code[pc];
      if (step.op === "match") {
        if (end === undefined || at === end) return at;
        break;
      }
      if (step.op === "char") {
        const point = text.codePointAt(at);
        if (point === undefined || !step.fits(point)) break;
        at += point > 0xffff ? 2 : 1;
        pc++;
      } else if (step.op === "split") {
        waiting.push({ pc: step.second, at });
        pc = step.first;
      } else if (step.op === "jump") pc = step.to;
      else if (step.op === "save") {
        waiting.push({ pc, at, undo: [step.slot, slots[step.slot]] });
        slots[step.slot] = at;
        pc++;
      } else if (step.op === "at") {
        if (!isAt(step.where, text, at)) break;
        pc++;
      } else {
        if (looks(step, text, at) !== step.wanted) break;
        pc++;
      }
    }
  }
  return undefined;
}

function isAt(where: "start" | "end" | "edge" | "inside", text: string, at: number): boolean {
  if (where === "start") return at === 0;
  if (where === "end") return at === text.length;
  const edge = isWord(text.charCodeAt(at - 1)) !== isWord(text.charCodeAt(at));
  return edge === (where === "edge");
}

function looks(look: Code & { op: "look" }, text: string, at: number): boolean {
  if (look.ahead) return matchAt(look.program, text, at, []) !== undefined;
  for (let from = at; from >= 0; from--) if (matchAt(look.program, text, from, [], at) !== undefined) return true;
  return false;
}

export class Pattern {
  private readonly code: readonly Code[];

  /** Throws `SyntaxError` for what cannot be read. */
  constructor(readonly source: string) {
    this.code = program(new Reader(source).whole());
  }

  test(text: string): boolean {
    return this.exec(text) !== null;
  }

  /** Places of the program: what each place of a text may cost. */
  get size(): number {
    return this.code.length;
  }

  /** The first match that begins at `from` or behind it. */
  find(text: string, from: number): { readonly start: number; readonly end: number } | undefined {
    for (let start = from; start <= text.length; start += (text.codePointAt(start) ?? 0) > 0xffff ? 2 : 1) {
      const end = matchAt(this.code, text, start, []);
      if (end !== undefined) return { start, end };
    }
    return undefined;
  }

  /** The first match, as `RegExp.exec` gives it: the whole, then the groups. */
  exec(text: string): (string | undefined)[] | null {
    for (let start = 0; start <= text.length; start++) {
      const slots: number[] = [];
      const end = matchAt(this.code, text, start, slots);
      if (end === undefined) continue;
      const groups: (string | undefined)[] = [text.slice(start, end)];
      const count = Math.max(0, ...this.code.map((c) => (c.op === "save" ? c.slot >> 1 : 0)));
      for (let g = 1; g <= count; g++) groups.push(slots[2 * g] === undefined ? undefined : text.slice(slots[2 * g], slots[2 * g + 1]));
      return groups;
    }
    return null;
  }
}
