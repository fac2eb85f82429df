/** Entries of a built program whose steps run backwards: what a caller need not hand in or look at. */

import type { Entry } from "../../ground/program.ts";
import { REVERSE_CHECK, REVERSE_ERROR, REVERSE_RANGE } from "../../ir/reverse/exact.ts";
import { REVERSE_SCALE, REVERSE_UNIT, REVERSE_WIDE_SCALE, REVERSE_WIDE_UNIT } from "../../ir/reverse/streams.ts";
import { FRACTION, LEAST_FRACTION, SHORTER, WIDE_FRACTION } from "./streams.ts";

const OWN: ReadonlySet<string> = new Set([
  REVERSE_SCALE,
  REVERSE_UNIT,
  REVERSE_WIDE_SCALE,
  REVERSE_WIDE_UNIT,
  REVERSE_RANGE,
  REVERSE_CHECK,
  REVERSE_ERROR,
]);

/** Inputs or outputs that are the caller's. */
export const ofCaller = (names: readonly string[]): string[] => names.filter((name) => !OWN.has(name));
/** Whether runs of an entry may not count. */
export const runsBackwards = ({ inputs, outputs }: Entry): boolean => [...inputs, ...outputs].some((name) => OWN.has(name));

/** The call of an entry in `index.mjs`. */
export function streamCall(entry: Entry): string {
  const wide = entry.inputs.includes(REVERSE_WIDE_SCALE);
  const integer = wide || entry.inputs.includes(REVERSE_SCALE);
  const facts = integer
    ? {
        scale: wide ? REVERSE_WIDE_SCALE : REVERSE_SCALE,
        unit: wide ? REVERSE_WIDE_UNIT : REVERSE_UNIT,
        bits: wide ? WIDE_FRACTION : FRACTION,
      }
    : {};
  return `streaming(session, ${JSON.stringify(entry.name)}, ${JSON.stringify(facts)})`;
}

/** What `streamCall` calls. `most`: by how much f32 streams may be off. */
export const streamText = (most: number): string =>
  `
/**
 * Runs a step that runs backwards until it counts: one that does not has changed nothing. Where an integer stream left its range the step is made
 * again with fewer bits of fraction. Throws where values that were rebuilt are not those that were there.
 */
function streaming(session, entry, { scale, unit, bits }) {
  return async (inputs, outputs) => {
    const checks = scale === undefined ? ["${REVERSE_ERROR}"] : ["${REVERSE_RANGE}", "${REVERSE_CHECK}"];
    for (let wrong = 0; ; ) {
      const given = scale === undefined ? inputs : { ...inputs, [scale]: 2 ** bits, [unit]: 2 ** -bits };
      const all = await session.run(entry, given, outputs && [...outputs, ...checks]);
      const [first, second] = checks.map((name) => all[name][0]);
      for (const name of checks) delete all[name];
      if (scale === undefined) {
        if (first <= ${most}) return all;
        throw new Error(\`values that were rebuilt are off by \${first}, more than ${most}; nothing was updated: build it with integers, or without running backwards\`);
      }
      if (first === 0 && second === 0) return all;
      if (first !== 0) {
        bits -= ${SHORTER};
        if (bits < ${LEAST_FRACTION}) throw new Error("a stream holds values that fit no integer; nothing was updated");
      } else if (++wrong > 1) throw new Error("values that were rebuilt are not those that were there; nothing was updated");
    }
  };
}
`;
