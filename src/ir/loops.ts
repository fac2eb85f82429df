/** Static loops, folded and unfolded. */

export { invertLoop, isBlocked } from "./loops/invert.ts";
export { roll } from "./loops/roll.ts";
export { unroll } from "./loops/unroll.ts";
