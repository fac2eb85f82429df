/** Static loops, folded and unfolded. */
export { roll } from "./loops/roll.ts";
export { unroll } from "./loops/unroll.ts";
