/** Values as narrower floats, and what of a change gets lost on the way. */
import type { FloatDType } from "../../formats/config.ts";
import { narrow, widen } from "../../formats/safetensors/dtype.ts";
import { type Key, threefry } from "../../ir/random.ts";

/** Each value as the nearest float of the type, ties to even; F32 gives the values themselves. */
export function nearest(values: Float32Array, dtype: FloatDType): Float32Array {
  if (dtype === "F32") return values;
  return widen(dtype, narrow(dtype, values, "a tensor"), values.length, "a tensor") as Float32Array;
}

/**
 * Each value as one of its two neighbours in the type, the nearer one the likelier, so that the mean over draws is the value: small changes survive on
 * average. The draw is a function of the key and the element's number. Values that the type has stay; beyond its range it is as `nearest`.
 */
export function stochastic(values: Float32Array, dtype: FloatDType, key: Key): Float32Array {
  const near = nearest(values, dtype);
  if (dtype === "F32") return near;
  return near.map((low, i) => {
    const value = values[i];
    if (low === value || !Number.isFinite(low)) return low;
    const other = neighbour(low, value > low, dtype);
    if (!Number.isFinite(other)) return low;
    const [x0] = threefry(key[0], key[1], i, 0);
    const share = Math.abs((value - low) / (other - low));
    return (x0 >>> 8) * 2 ** -24 < share ? other : low;
  });
}

/** The next float of the type above or below one of its own. */
function neighbour(value: number, up: boolean, dtype: FloatDType): number {
  const word = new Uint16Array(narrow(dtype, [value], "a value").slice().buffer);
  // words of one sign are ordered as their values' sizes are
  if (value === 0) word[0] = up ? 1 : 0x8001;
  else word[0] += up === value > 0 ? 1 : -1;
  return widen(dtype, new Uint8Array(word.buffer), 1, "a value")[0];
}

/** What became of the change from `before` to `after` when only `stored` was kept. */
export interface Loss {
  /** ‖after − before‖ / ‖before‖. */
  readonly change: number;
  /** ‖(stored − before) − (after − before)‖ / ‖after − before‖. */
  readonly lost: number;
  /** Of the elements that changed, the share whose stored value is what `before` would have been stored as. */
  readonly unchanged: number;
}

/** Sums for `Loss` over any number of tensors. `kept`: `before` in the stored type. */
export class Losses {
  private sums = { before: 0, change: 0, error: 0, changed: 0, same: 0 };

  add(before: Float32Array, after: Float32Array, stored: Float32Array, kept: Float32Array): void {
    const s = this.sums;
    for (let i = 0; i < before.length; i++) {
      const delta = after[i] - before[i];
      s.before += before[i] * before[i];
      s.change += delta * delta;
      s.error += (stored[i] - after[i]) ** 2;
      if (delta === 0) continue;
      s.changed++;
      if (stored[i] === kept[i]) s.same++;
    }
  }
  get result(): Loss {
    const { before, change, error, changed, same } = this.sums;
    return {
      change: before === 0 ? 0 : Math.sqrt(change / before),
      lost: change === 0 ? 0 : Math.sqrt(error / change),
      unchanged: changed === 0 ? 0 : same / changed,
    };
  }
}
