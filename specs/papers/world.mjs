/**
 * The small world that the papers' texts tell of: six topics with their things, what may be good or bad about them, people, places. Sentences of one
 * text agree in topic and in opinion, so that a model that has read enough of them knows both. Everything is drawn from a seed.
 */

/** Uniform numbers in [0, 1) by mulberry32. */
export function random(seed) {
  let a = seed >>> 0;
  const next = () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n) => Math.floor(next() * n);
  const pick = (list) => list[below(list.length)];
  const shuffled = (list) => {
    const out = [...list];
    for (let i = out.length - 1; i > 0; i--) {
      const j = below(i + 1);
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  };
  return { next, below, pick, shuffled };
}

const list = (text) => text.trim().split(/\s+/);

export const TOPICS = {
  film: list("film plot actor scene music song stage story dance script"),
  food: list("soup bread cake tea apple cheese dinner fish salad sauce"),
  sport: list("game team goal coach race player match runner ball score"),
  weather: list("rain wind storm snow cloud sun fog winter summer frost"),
  money: list("bank tax price trade loan market wage coin debt profit"),
  town: list("road bridge house park school tower street garden shop station"),
};
export const NAMES = Object.keys(TOPICS);
export const GOOD = list("great good fine lovely superb bright pleasant excellent charming perfect warm clever");
export const BAD = list("terrible bad poor ugly awful dull nasty dreadful boring broken cold stupid");
const LIKED = list("loved liked enjoyed praised admired");
const DISLIKED = list("hated disliked feared blamed despised");
const VERY = list("very so really quite truly");
export const PEOPLE = list("anna bert clara david emma frank greta hugo ida jonas karla leo mia noah olga paul");
const PLACES = list("here there today again now yesterday");

/** A sentence on a thing with an opinion (1 good, 0 bad): the same opinion may be said in several ways, `not` turning one around. */
export function opinion(r, thing, good, plain = false) {
  const [own, other] = good ? [GOOD, BAD] : [BAD, GOOD];
  const kinds = plain
    ? [() => `the ${thing} was ${r.pick(own)}`]
    : [
        () => `the ${thing} was ${r.pick(own)}`,
        () => `the ${thing} was ${r.pick(VERY)} ${r.pick(own)}`,
        () => `the ${thing} was not ${r.pick(other)}`,
        () => `${r.pick(PEOPLE)} ${r.pick(good ? LIKED : DISLIKED)} the ${thing}`,
        () => `i ${r.pick(good ? LIKED : DISLIKED)} the ${r.pick(own)} ${thing} ${r.pick(PLACES)}`,
        () => `it was ${r.pick(own)} , said ${r.pick(PEOPLE)} of the ${thing}`,
      ];
  return r.pick(kinds)();
}

/** A text of several sentences that agree, and a verdict at its end: what a masked word is to be guessed by. */
export function text(r, sentences = 2 + r.below(2)) {
  const topic = r.pick(NAMES);
  const good = r.below(2) === 1;
  const things = r.shuffled(TOPICS[topic]).slice(0, sentences);
  const said = things.map((thing) => opinion(r, thing, good));
  const end = r.pick([`it was ${r.pick(good ? GOOD : BAD)}`, `this is about ${topic}`, `all in all ${r.pick(good ? GOOD : BAD)} ${topic}`]);
  return { text: `${[...said, end].join(" . ")} .`, topic, good };
}

/** Words that English texts of this world are made of. */
export const ENGLISH = [
  ...new Set([
    ...Object.values(TOPICS).flat(),
    ...NAMES,
    ...GOOD,
    ...BAD,
    ...LIKED,
    ...DISLIKED,
    ...VERY,
    ...PEOPLE,
    ...PLACES,
    ...list(
      "the was not i it said of this is about all in . , ? ! : yes no maybe true false and a an answer question with what how many which",
    ),
  ]),
];
export { DISLIKED, LIKED, list, PLACES, VERY };
