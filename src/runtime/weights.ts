/**
 * Weights on their way to a device: a session asks for a piece at a time, straight into its place, so that no tensor stands whole anywhere else.
 */

import type { Values } from "../ground/program.ts";
import type { Weights } from "../ground/weights.ts";
import { narrowWords } from "../ir/ops/halves.ts";

/** Numbers of a piece: 1 MB of f32. */
export const PIECE = 1 << 18;
/** Pieces under way at once. */
const IN_FLIGHT = 4;

export const isWeights = (data: Values | Weights): data is Weights => !ArrayBuffer.isView(data);

/** Numbers that are in memory already. */
export function weightsOf(values: Float32Array): Weights {
  return {
    length: values.length,
    fill: (into, at) => into.set(values.subarray(at, at + into.length)),
    fillWords: (into, at, format) => narrowWords(format, values.subarray(at, at + into.length), into),
  };
}

/** All of them in one array. */
export async function wholeOf(data: Values | Weights): Promise<Values> {
  if (!isWeights(data)) return data;
  const whole = new Float32Array(data.length);
  await inPieces(data.length, (at, count) => data.fill(whole.subarray(at, at + count), at));
  return whole;
}

/**
 * Calls `move` for one piece of `length` numbers after the other, several at a time where it waits. `slot`: which of the pieces under way it is, below
 * `IN_FLIGHT`.
 */
export async function inPieces(length: number, move: (at: number, count: number, slot: number) => void | Promise<void>): Promise<void> {
  let next = 0;
  const mover = async (slot: number) => {
    while (next < length) {
      const at = next;
      next += PIECE;
      try {
        await move(at, Math.min(PIECE, length - at), slot);
      } catch (error) {
        next = length;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(IN_FLIGHT, Math.ceil(length / PIECE)) }, (_, slot) => mover(slot)));
}
