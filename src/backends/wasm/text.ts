import { Locals } from "../kernels/names.ts";

/** Builds the text of one WebAssembly function. Instructions are folded S-expressions; locals are declared when the text is made. */
type ValueType = "i32" | "v128" | "f32";

export class Code {
  private readonly lines: string[] = [];
  private readonly locals: string[] = [];
  private depth = 2;
  private readonly names: Locals;

  constructor(
    /** Whether multiply-adds may be fused. */
    readonly relaxed = false,
    /** Names that locals may not have. */
    taken: readonly string[] = [],
  ) {
    this.names = new Locals(taken);
  }

  /** A local of its own name. */
  local(type: ValueType, hint: string): string {
    const name = `$${this.names.of(hint)}`;
    this.locals.push(`(local ${name} ${type})`);
    return name;
  }
  line(text: string): void {
    this.lines.push(" ".repeat(this.depth) + text);
  }
  comment(text: string): void {
    this.line(`;; ${text}`);
  }
  set(name: string, value: string): void {
    this.line(`(local.set ${name} ${value})`);
  }
  /** A new local with that value; gives its name. */
  let(type: ValueType, hint: string, value: string): string {
    const name = this.local(type, hint);
    this.set(name, value);
    return name;
  }
  block(open: string, body: () => void, close = ")"): void {
    this.line(open);
    this.depth += 2;
    body();
    this.depth -= 2;
    this.line(close);
  }
  /** while (variable < limit) { body; variable += step }, tested at the end of each iteration; the first iteration runs only if it should. */
  loop(variable: string, limit: string, step: number, body: () => void): void {
    const label = `$${this.names.of("loop")}`;
    this.block(
      `(if (i32.lt_s ${get(variable)} ${limit}) (then (loop ${label}`,
      () => {
        body();
        this.set(variable, add(get(variable), i32(step)));
        this.line(`(br_if ${label} (i32.lt_s ${get(variable)} ${limit}))`);
      },
      ")))",
    );
  }
  if(condition: string, then: () => void, otherwise?: () => void): void {
    this.block(`(if ${condition} (then`, then, otherwise ? ")" : "))");
    if (otherwise) this.block("(else", otherwise, "))");
  }
  text(header: string): string {
    return [header, ...this.locals.map((l) => `  ${l}`), ...this.lines, ")"].join("\n");
  }
}

export const get = (name: string): string => `(local.get ${name})`;
export const i32 = (n: number): string => `(i32.const ${n | 0})`;

const literal = /^\(i32\.const (-?\d+)\)$/;
const constantOf = (e: string): number | undefined => {
  const m = literal.exec(e);
  return m ? Number(m[1]) : undefined;
};
export function add(a: string, b: string): string {
  const [x, y] = [constantOf(a), constantOf(b)];
  if (x !== undefined && y !== undefined) return i32(x + y);
  return x === 0 ? b : y === 0 ? a : `(i32.add ${a} ${b})`;
}
export function mul(a: string, by: number): string {
  const x = constantOf(a);
  if (x !== undefined) return i32(Math.imul(x, by));
  if (by === 0) return i32(0);
  if (by === 1) return a;
  return by > 0 && (by & (by - 1)) === 0 ? `(i32.shl ${a} ${i32(Math.log2(by))})` : `(i32.mul ${a} ${i32(by)})`;
}
export const divU = (a: string, by: number): string => (by === 1 ? a : `(i32.div_u ${a} ${i32(by)})`);
export const remU = (a: string, by: number): string => (by === 1 ? i32(0) : `(i32.rem_u ${a} ${i32(by)})`);

/** An f32 in WebAssembly's spelling, exact. */
function f32(x: number): string {
  const v = Math.fround(x);
  if (Number.isNaN(v)) return "nan";
  if (!Number.isFinite(v)) return v > 0 ? "inf" : "-inf";
  return Object.is(v, -0) ? "-0" : String(v);
}
export const splatF = (x: number): string => `(v128.const f32x4 ${Array(4).fill(f32(x)).join(" ")})`;
export const splatI = (x: number): string =>
  `(v128.const i32x4 ${Array(4)
    .fill(x | 0)
    .join(" ")})`;
/** A mask whose first `n` lanes are set. */
export const firstLanes = (n: number): string => `(v128.const i32x4 ${[0, 1, 2, 3].map((l) => (l < n ? -1 : 0)).join(" ")})`;
