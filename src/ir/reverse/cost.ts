/** What each way of having streams again keeps of them. */
import type { Node } from "../graph.ts";
import { perWord } from "../ops/couplings.ts";
import { remainderBits } from "../ops/index.ts";
import { growing, type Reversible } from "./found.ts";
import { laterBodies, readsOf } from "./rounded.ts";

const bytes = (n: Node): number => 4 * (n.type.shape as readonly number[]).reduce((p, d) => p * d, 1);
const sum = (xs: readonly number[]): number => xs.reduce((p, q) => p + q, 0);
const streamBytes = ({ loop }: Reversible): number[] => loop.loop!.bodies[0].params.slice(0, loop.loop!.carried).map(bytes);

/** Places of the streams that something is computed from: where these are kept at every iteration, nobody asks for the others. */
export function carriers({ loop, couplings }: Reversible): Set<number> {
  const read = new Set<number>();
  for (const i of laterBodies({ loop, couplings }))
    for (const { params, results } of readsOf(loop.loop!.bodies[i], couplings[i])) for (const k of [...params, ...results]) read.add(k);
  return read;
}

/** Bytes an iteration of carriers at every iteration. */
export function carrierBytes(found: Reversible): number {
  const all = streamBytes(found);
  return sum([...carriers(found)].map((k) => all[k]));
}

/** Bytes an iteration of all streams every so many iterations. */
export const segmentBytes = (found: Reversible, segment: number): number => sum(streamBytes(found)) / segment;

/** Bytes an iteration of integer streams: what their factors lose, and a share of the second word of the streams at hand. */
export function integerBytes(found: Reversible): number {
  const { loop, couplings } = found;
  const { iterations } = loop.loop!;
  const all = streamBytes(found);
  const lost = laterBodies(found).map((i) =>
    sum(
      couplings[i].map((c) => {
        const bits = remainderBits(c.ratio);
        return bits === 0 ? 0 : 4 * Math.ceil(all[c.from] / 4 / perWord(bits));
      }),
    ),
  );
  return Math.max(...lost) + (growing(found).wide ? sum(all) / iterations.length : 0);
}
