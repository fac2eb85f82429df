/** Packs columns whose numbers share words and scales: see `../kernels/stretches.ts`. */
import type { Across, Along } from "../kernels/stretches.ts";
import type { LaneState } from "./indices.ts";
import { offsetText } from "./lanes.ts";
import { add, type Code, divU, get, i32 } from "./text.ts";
import type { Printer } from "./values.ts";

/** A panel of 8 columns: two vectors. */
const OFFSETS = [0, 16];

interface Panel {
  /** Places of the sum, expressions: multiples of a stretch. */
  readonly from: string;
  readonly end: string;
  /** i32 local: where the next place goes; it moves on. */
  readonly out: string;
  /** Bytes from one place to the next. */
  readonly step: number;
  /** The panel's columns. */
  readonly lanes: (offset: number, valid: number) => LaneState;
}

/** One panel: what a stretch shares is computed ahead of its words, the numbers of a word one after the other. */
export function unpackAlong(p: Printer, code: Code, { outer, inner, roots }: Along, { from, end, out, step, lanes }: Panel): void {
  const over = (axis: number, first: string, last: string, body: () => void) => {
    const variable = code.let("i32", "s", first);
    code.loop(variable, last, 1, () =>
      p.scope(() => {
        p.setAxis(axis, variable);
        body();
      }),
    );
  };
  const places = () => {
    for (const [c, root] of roots.entries()) {
      for (const offset of OFFSETS) {
        p.withLanes(lanes(offset, 4), () => {
          p.need([root]);
          code.line(`(v128.store ${offsetText(c * step + offset)} ${get(out)} ${p.of(root)})`);
        });
      }
    }
    code.set(out, add(get(out), i32(roots.length * step)));
  };
  if (outer === undefined) return over(inner, divU(from, roots.length), divU(end, roots.length), places);
  over(outer.axis, divU(from, outer.long), divU(end, outer.long), () => {
    for (const offset of OFFSETS) p.withLanes(lanes(offset, 4), () => p.lift(roots));
    over(inner, i32(0), i32(outer.long / roots.length), places);
  });
}

interface Columns {
  /** i32 local: the first of the columns. */
  readonly column: string;
  /** The sum's axis, the i32 local for its places, and from where to where they go (expressions). */
  readonly axis: number;
  readonly k: string;
  readonly k0: string;
  readonly k1: string;
  /** Where the first place of the first panel goes; bytes to the next place, and to the next panel. */
  readonly to: string;
  readonly step: number;
  readonly panel: number;
}

/** The panels of a stretch of columns: for each place of the sum what they share is computed ahead of them. */
export function unpackAcross(p: Printer, code: Code, { outer, inner, long, root }: Across, t: Columns): void {
  const base = code.let("i32", "to", t.to);
  const [bytes, out] = [code.local("i32", "x"), code.local("i32", "to")];
  p.scope(() => {
    p.setAxis(outer, code.let("i32", "s", divU(get(t.column), long)));
    code.set(t.k, t.k0);
    code.loop(t.k, t.k1, 1, () => {
      p.scope(() => {
        p.setAxis(t.axis, t.k);
        p.lift([root], [], inner);
        code.set(bytes, i32(0));
        code.set(out, get(base));
        code.loop(bytes, i32(4 * long), 32, () => {
          p.scope(() => {
            for (const offset of OFFSETS) {
              p.withLanes({ axis: inner, bytes, offset, valid: 4 }, () => {
                p.need([root]);
                code.line(`(v128.store ${offsetText(offset)} ${get(out)} ${p.of(root)})`);
              });
            }
          });
          code.set(out, add(get(out), i32(t.panel)));
        });
      });
      code.set(base, add(get(base), i32(t.step)));
    });
  });
}
