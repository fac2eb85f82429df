import { type Code, get } from "./text.ts";

export const offsetText = (n: number): string => (n === 0 ? "" : `offset=${n}`);

export const splatLoad = ({ at, offset }: { at: string; offset: number }): string => `(v128.load32_splat ${offsetText(offset)} ${at})`;

export const plainLoad = ({ at, offset }: { at: string; offset: number }): string => `(v128.load ${offsetText(offset)} ${at})`;

/** Two elements, in the first lanes. */
export const pairLoad = ({ at, offset }: { at: string; offset: number }): string => `(v128.load64_zero ${offsetText(offset)} ${at})`;

/** A vector of these lanes of another. */
export const lanesOf = (x: string, lanes: readonly number[]): string =>
  `(i8x16.shuffle ${lanes.flatMap((l) => [0, 1, 2, 3].map((b) => 4 * l + b)).join(" ")} ${x} ${x})`;

/** Stores the first `valid` lanes. */
export function storeLanes(c: Code, at: string, offset: number, value: string, valid: number): void {
  if (valid === 4) c.line(`(v128.store ${offsetText(offset)} ${at} ${value})`);
  else if (valid === 1) c.line(`(v128.store32_lane ${offsetText(offset)} 0 ${at} ${value})`);
  else {
    const held = get(c.let("v128", "s", value));
    const base = get(c.let("i32", "at", at));
    c.line(`(v128.store64_lane ${offsetText(offset)} 0 ${base} ${held})`);
    if (valid === 3) c.line(`(v128.store32_lane ${offsetText(offset + 8)} 2 ${base} ${held})`);
  }
}
