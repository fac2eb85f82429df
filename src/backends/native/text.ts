import { Locals } from "../kernels/names.ts";

/** Builds the text of a C function. */
export class Code {
  private readonly lines: string[] = [];
  private depth = 1;
  private readonly locals: Locals;

  /** `taken`: names that the function's own variables may not have. */
  constructor(taken: readonly string[] = []) {
    this.locals = new Locals(taken);
  }

  /** A name of its own. */
  name(hint: string): string {
    return this.locals.of(hint);
  }
  line(text: string): void {
    this.lines.push("  ".repeat(this.depth) + text);
  }
  /** A new constant with that value; gives its name. */
  let(type: string, hint: string, value: string): string {
    const name = this.name(hint);
    this.line(`${type} const ${name} = ${value};`);
    return name;
  }
  /** A new variable with that value; gives its name. */
  variable(type: string, hint: string, value: string): string {
    const name = this.name(hint);
    this.line(`${type} ${name} = ${value};`);
    return name;
  }
  set(name: string, value: string): void {
    this.line(`${name} = ${value};`);
  }
  block(open: string, body: () => void): void {
    this.line(open === "" ? "{" : `${open} {`);
    this.depth++;
    body();
    this.depth--;
    this.line("}");
  }
  text(header: string): string {
    return [`${header} {`, ...this.lines, "}"].join("\n");
  }
}

const whole = /^-?\d+$/;
/** Sums and products of index expressions, with what is known of them worked out. */
export function add(a: string, b: string): string {
  if (whole.test(a) && whole.test(b)) return String(Number(a) + Number(b));
  if (a === "0") return b;
  if (b === "0") return a;
  return `${a} + ${b.startsWith("-") ? `(${b})` : b}`;
}
export function mul(a: string, by: number): string {
  if (whole.test(a)) return String(Number(a) * by);
  if (by === 0) return "0";
  return by === 1 ? a : `${atom(a)} * ${by < 0 ? `(${by})` : by}`;
}
export const divide = (a: string, by: number): string => (by === 1 ? a : `(ix)((u32)(${a}) / ${by}u)`);
export const rest = (a: string, by: number): string => (by === 1 ? "0" : `(ix)((u32)(${a}) % ${by}u)`);
/** In parentheses unless it is a name or a number. */
export const atom = (a: string): string => (/^\w+(\[\w+\])?$/.test(a) ? a : `(${a})`);

/** An f32 in C's spelling, exact. */
export function f32(x: number): string {
  const v = Math.fround(x);
  if (Number.isNaN(v)) return "NOT_A_NUMBER";
  if (!Number.isFinite(v)) return v > 0 ? "INFINITE" : "(-INFINITE)";
  if (Object.is(v, -0)) return "(-0.0f)";
  const text = String(v);
  const spelled = `${/[.e]/.test(text) ? text : `${text}.0`}f`;
  return v < 0 ? `(${spelled})` : spelled;
}
export const i32 = (x: number): string => ((x | 0) === -2147483648 ? "(-2147483647 - 1)" : x < 0 ? `(${x | 0})` : String(x | 0));
