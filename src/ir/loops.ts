/** Static loops, folded and unfolded. */

export { type Blocked, type Inverse, invertBody, invertLoop, isBlocked } from "./loops/invert.ts";
export { roll } from "./loops/roll.ts";
export { unroll } from "./loops/unroll.ts";
