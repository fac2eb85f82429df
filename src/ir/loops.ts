/** Static loops, folded and unfolded. */
export { roll } from "./loops/roll.ts";
export { unroll } from "./loops/unroll.ts";
export { type Blocked, type Inverse, invertBody, invertLoop, isBlocked } from "./loops/invert.ts";
