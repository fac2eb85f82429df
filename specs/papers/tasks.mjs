/** The tasks of the papers' programs, told in the small world of `world.mjs`. */
import { BAD, DISLIKED, ENGLISH, GOOD, LIKED, list, NAMES, opinion, PEOPLE, TOPICS, text, VERY } from "./world.mjs";

const make = (n, one) => Array.from({ length: n }, (_, i) => one(i));
/** Rows of which no two are the same, so that what is held back was never trained on. */
const distinct = (n, one) => {
  const seen = new Set();
  return make(n, (i) => {
    for (let tries = 0; tries < 1000; tries++) {
      const row = one(i);
      const key = JSON.stringify(row);
      if (seen.has(key)) continue;
      seen.add(key);
      return row;
    }
    throw new Error(`there are no ${n} different rows of this kind`);
  });
};
const thingOf = (r, topic = r.pick(NAMES)) => r.pick(TOPICS[topic]);

/** Texts to read. */
export const corpus = (r, n) => make(n, () => ({ text: text(r).text }));

/** Sentences with their opinion as a number. */
export const verdicts = (r, n) =>
  told(make, r, n).map(({ sentence, label }) => ({
    sentence,
    label: Number(label === "positive"),
    answer: label === "positive" ? "great" : "terrible",
  }));

/** Sentences with an opinion; now and then two, joined by a comma, that agree. */
export const reviews = (r, n) => told(distinct, r, n);
const told = (rows, r, n) =>
  rows(n, () => {
    const good = r.below(2) === 1;
    const topic = r.pick(NAMES);
    const first = opinion(r, thingOf(r, topic), good);
    const sentence = r.below(3) === 0 ? `${first} , and ${opinion(r, thingOf(r, topic), good)}` : first;
    return { sentence, label: good ? "positive" : "negative", answer: good ? "yes" : "no" };
  });

/**
 * A premise, which is favourable, and what may follow from it: another good word does, a bad one does not, and of what it is about nothing was said. So the hypothesis
 * decides, which models of this size can learn. Two classes: what follows, and what does not. `terse`: sentences of the plainest kind.
 */
export const pairs = (r, n, classes, terse = false) =>
  distinct(n, (i) => {
    const kind = i % classes;
    const topic = r.pick(NAMES);
    const premise = opinion(r, thingOf(r, topic), true, terse);
    const hypothesis = kind === 2 ? `this is about ${r.pick(NAMES)}` : opinion(r, thingOf(r, topic), kind === 0, terse);
    const named = classes === 2 ? ["entailment", "not_entailment"] : ["entailment", "contradiction", "neutral"];
    return { premise, hypothesis, label: named[kind], answer: ["yes", "no", "maybe"][kind] };
  });

/** Whether the second sentence is favourable like the first, is about the weather as the first is, names somebody, or has its words in order. */
export const sentencePairs = (r, n, task) =>
  distinct(n, (i) => {
    const yes = i % 2 === 1;
    const sentence1 = opinion(r, thingOf(r, "weather"), true, true);
    const good = r.below(2) === 1;
    const elsewhere = r.pick(NAMES.filter((name) => name !== "weather"));
    const words = opinion(r, thingOf(r), good, true).split(" ");
    const sentence2 = {
      opinion: () => opinion(r, thingOf(r), yes),
      topic: () => opinion(r, thingOf(r, yes ? "weather" : elsewhere), good),
      person: () => (yes ? `${r.pick(PEOPLE)} ${r.pick(good ? LIKED : DISLIKED)} the ${thingOf(r)}` : words.join(" ")),
      order: () => (yes ? words : [words[3], words[0], words[2], words[1]]).join(" "),
    }[task]();
    return { sentence1, sentence2, label: yes ? "yes" : "no" };
  });

// ── pictures: four cells, each with a thing, seen as sixteen numbers ──

const SEEN = list("film bread ball rain coin bridge cake storm");
const CELLS = list("first second third fourth");
const FEATURES = 16;
/** What a thing looks like, with noise. */
const look = (r, thing) => {
  const at = SEEN.indexOf(thing);
  return make(FEATURES, (i) => Math.round(100 * ((((at + 1) * (i + 3) * 7) % 11) / 5 - 1 + 0.3 * (r.next() - 0.5))) / 100);
};
const scene = (r) => make(4, () => r.pick(SEEN));

export const vqa = (r, n) =>
  distinct(n, (i) => {
    const things = scene(r);
    const at = r.below(4);
    const grid = things.map((thing) => look(r, thing));
    if (i % 2 === 0) return { question: `what is in the ${CELLS[at]} cell ?`, answer: things[at], grid, score: 1 };
    const thing = r.pick(SEEN);
    return { question: `is the ${thing} there ?`, answer: things.includes(thing) ? "yes" : "no", grid, score: r.below(4) === 0 ? 0.6 : 1 };
  });
export const captions = (r, n) =>
  distinct(n, () => {
    const things = scene(r);
    return { text: `a ${things[0]} , a ${things[1]} , a ${things[2]} and a ${things[3]}`, grid: things.map((thing) => look(r, thing)) };
  });

/** Six frames, of which the last shows the first one's thing again, or another. */
export const videos = (r, n) =>
  distinct(n, (i) => {
    const things = make(6, () => r.pick(SEEN));
    const again = i % 2 === 0;
    if (again) things[5] = things[0];
    else while (things[5] === things[0]) things[5] = r.pick(SEEN);
    return { answer: again ? "yes" : "no", grid: things.map((thing) => look(r, thing)), score: 1 };
  });

/** Drawings of twelve by twelve points, with noise, and what they show; `others`: forms that the first ones are not. */
const SIDE = 12;
const FORMS = {
  row: (x, y, a) => y === a,
  column: (x, _, a) => x === a,
  falling: (x, y, a) => x - y === a - 6,
  rising: (x, y, a) => x + y === a + 5,
  cross: (x, y, a) => x === a || y === a,
  frame: (x, y, a) => Math.max(Math.abs(x - 6), Math.abs(y - 6)) === 2 + (a % 4),
};
const OTHERS = {
  two: (x, y, a) => y === a || y === a - 3,
  wedge: (x, y, a) => Math.abs(x - 6) === y - (a % 5),
  block: (x, y, a) => Math.abs(x - a) < 2 && Math.abs(y - 6) < 4,
  grid: (x, y, a) => (x + a) % 4 === 0 && y % 4 === 0,
};
export const pictures = (r, n, others = false) => {
  const forms = Object.values(others ? OTHERS : FORMS);
  return distinct(n, (i) => {
    const at = 2 + r.below(8);
    const lit = forms[i % forms.length];
    const point = (x, y) => Math.round(4 * (lit(x, y, at) ? 1 : 0) + 3 * (r.next() - 0.5));
    return { pixel_values: [make(SIDE, (y) => make(SIDE, (x) => point(x, y)))], label: i % forms.length };
  });
};

// ── keyphrases ──

/** Two present phrases, which a cue introduces, and an absent one: the topic. */
export const keyphrases = (r, n) =>
  distinct(n, () => {
    const topic = r.pick(NAMES);
    const [a, b, c, d] = r.shuffled(TOPICS[topic]);
    const [one, two] = [`${a} ${b}`, `${r.pick([...GOOD, ...BAD])} ${c}`];
    const abstract = `we study the ${one} . ${opinion(r, d, r.below(2) === 1)} . a new method for ${two} is shown , which helps the ${a}`;
    return { title: `on the ${r.pick([one, two])}`, abstract, keyphrases: [one, two, topic] };
  });

// ── languages: English word by word in other words ──

const SYLLABLES = {
  hausa: list("ba da ka la ma na sa ta wa ya ru go"),
  yoruba: list("fe gbe kpe le she te oju olo iya owo"),
  swahili: list("ki vi mu wa ji ku nja mbo ndi pi"),
  amharic: [..."ሀለሐመሠረሰቀበተኀነአከወ"],
};
/** Function words go into every language as they are read: what differs is a word for each word. */
export function languages(r) {
  const made = Object.entries(SYLLABLES).map(([name, syllables]) => {
    const words = new Map();
    const taken = new Set(ENGLISH);
    for (const word of ENGLISH) {
      if (!/^[a-z]{2,}$/.test(word)) continue;
      let other;
      do other = make(2 + r.below(2), () => r.pick(syllables)).join("");
      while (taken.has(other));
      taken.add(other);
      words.set(word, other);
    }
    const say = (line) =>
      line
        .split(" ")
        .map((word) => words.get(word) ?? word)
        .join(" ");
    return { name, words: [...words.values()], say };
  });
  return [...made, { name: "english", words: [], say: (line) => line }];
}
export const topicsOf = (r, n, say) =>
  distinct(n, (i) => {
    const topic = ["food", "sport", "weather"][i % 3];
    const good = r.below(2) === 1;
    return { text: say(`${opinion(r, thingOf(r, topic), good)} . ${opinion(r, thingOf(r, topic), good)}`), label: topic };
  });

/** Sentences on a topic, as its number. */
export const aboutOf = (r, n, say) =>
  make(n, (i) => {
    const topic = NAMES[i % NAMES.length];
    const good = r.below(2) === 1;
    return { text: say(`${opinion(r, thingOf(r, topic), good)} . ${opinion(r, thingOf(r, topic), good)}`), label: i % NAMES.length };
  });
export const moodsOf = (r, n, say) => reviews(r, n).map(({ sentence, label }) => ({ text: say(sentence), label }));
/** Texts with the people whom they name. */
export const namesOf = (r, n, say) =>
  distinct(n, () => {
    const who = r.shuffled(PEOPLE).slice(0, 1 + r.below(2));
    const said = who.map((name) => {
      const good = r.below(2) === 1;
      return `${name} ${r.pick(good ? LIKED : DISLIKED)} the ${thingOf(r)}`;
    });
    return { text: say(r.shuffled([...said, opinion(r, thingOf(r), r.below(2) === 1, true)]).join(" . ")), people: who.map(say) };
  });

// ── coding of arguments ──

const SUBJECT = { near: list("kohle atom gas"), arms: list("waffen panzer raketen") };
const PRO = list("hilfe schutz freiheit verteidigung rettung");
const CONTRA = list("krieg gefahr eskalation leid kosten");
const NOTHING = list("bericht sitzung termin zahl antrag");
const GLUE = list(
  "die der das sind bringen bedeuten ist ein wir brauchen keine mehr sagt im bundestag am montag heute dies dafur dagegen nichts frage antwort und weil",
);
/** Claims on a subject; who says so is linked to what is said in the few labelled rows, and not elsewhere. */
function claim(r, subjects, label, biased) {
  const subject = r.pick(subjects);
  const at = ["dagegen", "dafür", "nichts"].indexOf(label);
  const who = biased ? PEOPLE[at * 5 + r.below(5)] : r.pick(PEOPLE);
  const words = [CONTRA, PRO, NOTHING][at];
  const said = [
    () => `die ${subject} bringen ${r.pick(words)} und ${r.pick(words)}`,
    () => `${r.pick(words)} , weil die ${subject} ${r.pick(words)} bedeuten`,
    () => (at === 2 ? `ein ${r.pick(words)} im bundestag` : `wir brauchen ${at === 0 ? "keine" : "mehr"} ${subject}`),
  ];
  return `${who} sagt heute : ${r.pick(said)()} .`;
}
export function content(r) {
  const labels = ["dagegen", "dafür", "nichts"];
  const table = (n, subjects, biased) => distinct(n, (i) => ({ text: claim(r, subjects, labels[i % 3], biased), label: labels[i % 3] }));
  const unlabelled = table(240, SUBJECT.arms, false).map(({ text }) => ({ text }));
  const reading = table(600, [...SUBJECT.near, ...SUBJECT.arms], false).map(({ text }) => ({ text }));
  const tables = {
    near: table(240, SUBJECT.near, false),
    few: table(30, SUBJECT.arms, true),
    unlabelled,
    test: table(240, SUBJECT.arms, false),
  };
  return { tables, reading, words: [...SUBJECT.near, ...SUBJECT.arms, ...PRO, ...CONTRA, ...NOTHING, ...GLUE] };
}

// ── conversations ──

const talk = (asked, answer) => ({
  messages: [{ role: "user", content: asked }, ...(answer === undefined ? [] : [{ role: "assistant", content: answer }])],
});
export const instructions = (r, n) =>
  distinct(n, (i) => {
    const topic = r.pick(NAMES);
    const thing = thingOf(r, topic);
    if (i % 8 === 0) return talk(`what is the ${thing} about ?`, `the ${thing} is about ${topic} .`);
    const good = r.below(2) === 1;
    return talk(
      `did you like the ${thing} ? answer ${good ? "yes" : "no"} .`,
      `${good ? "yes" : "no"} , i ${r.pick(good ? LIKED : DISLIKED)} the ${thing} . it was ${r.pick(VERY)} ${r.pick(good ? GOOD : BAD)} .`,
    );
  });
/** An answer that says too little or something else, and a better one when it is asked to improve. */
export const refinements = (r, n) =>
  instructions(r, n).map(({ messages: [asked, { content }] }) => {
    const weak = r.pick([content.split(" ").slice(0, 2).join(" "), `the ${thingOf(r)} .`, `${r.pick(VERY)} ${r.pick(BAD)} .`]);
    const improve = { role: "user", content: "improve your answer ." };
    return { messages: [asked, { role: "assistant", content: weak }, improve, { role: "assistant", content }] };
  });
export const questions = (r, n) =>
  distinct(n, (i) => {
    const thing = thingOf(r);
    return talk(i % 2 === 0 ? `what is the ${thing} about ?` : `did you like the ${thing} ? answer yes .`);
  });
