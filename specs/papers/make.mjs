/**
 * Writes the texts, tasks and vocabularies of the papers' programs beside this file, from seeds: `node specs/papers/make.mjs`. What it writes is in
 * the repository.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import {
  aboutOf,
  captions,
  content,
  corpus,
  instructions,
  keyphrases,
  languages,
  moodsOf,
  namesOf,
  pairs,
  pictures,
  questions,
  refinements,
  reviews,
  sentencePairs,
  topicsOf,
  verdicts,
  videos,
  vqa,
} from "./tasks.mjs";
import { ENGLISH, PEOPLE, random } from "./world.mjs";

const here = import.meta.dirname;
const write = (name, value) => {
  const file = path.join(here, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, value);
};
const rows = (name, all) => write(`data/${name}.jsonl`, `${all.map((row) => JSON.stringify(row)).join("\n")}\n`);
const lines = (name, all) => write(`data/${name}.txt`, `${all.join("\n")}\n`);

const reading = corpus(random(1), 3000);
rows("corpus", reading);
rows("verdicts", verdicts(random(15), 3000));
lines(
  "stream",
  reading.map(({ text }) => text),
);

// whole texts, and the same with a third of the words taken out
const holes = random(9);
const taken = (line) =>
  line
    .split(" ")
    .map((word) => (holes.below(3) === 0 ? "[MASK]" : word))
    .join(" ");
rows(
  "holes",
  reading.map(({ text }) => ({ holes: taken(text), text })),
);

rows("sst2", reviews(random(2), 700));
const few = reviews(random(3), 30);
rows(
  "labelled",
  few.map(({ sentence, label }) => ({ sentence, label: label === "positive" ? 1 : 0 })),
);
rows(
  "unlabelled",
  reviews(random(4), 400).map(({ sentence }) => ({ sentence })),
);
rows(
  "reviews-test",
  reviews(random(5), 300).map(({ sentence, label }) => ({ sentence, label: label === "positive" ? 1 : 0 })),
);

rows("rte", pairs(random(6), 800, 2));
rows("mnli", pairs(random(7), 1000, 3));
rows("cb", pairs(random(8), 250, 3, true));
for (const [i, task] of ["opinion", "topic", "person", "order"].entries()) rows(`task-${task}`, sentencePairs(random(10 + i), 400, task));

rows("vqa", vqa(random(20), 500));
rows("caption", captions(random(21), 300));
rows("caption-few", captions(random(23), 4));
rows("video", videos(random(26), 240));
rows("pictures-reading", pictures(random(24), 480));
rows("pictures", pictures(random(25), 320, true));
rows("keyphrases", keyphrases(random(22), 500));

const tongues = languages(random(30));
for (const { name, say } of tongues) {
  const r = random(31 + name.length);
  lines(
    `language-${name}`,
    corpus(r, 700).map(({ text }) => say(text)),
  );
  rows(`topics-${name}`, topicsOf(r, name === "hausa" ? 400 : 150, say));
  if (name !== "hausa") continue;
  rows(`moods-${name}`, moodsOf(r, 300, say));
  rows(`names-${name}`, namesOf(r, 300, say));
}

const coded = content(random(40));
// what the model of many languages has read: a little of each of them, and German
rows("many", [...tongues.flatMap(({ say }, i) => corpus(random(60 + i), 400).map(({ text }) => ({ text: say(text) }))), ...coded.reading]);
rows("many-topics", random(70).shuffled(tongues.flatMap(({ say }, i) => aboutOf(random(71 + i), 300, say))));
for (const [name, all] of Object.entries(coded.tables)) rows(`arms-${name}`, all);
lines("people", PEOPLE);

lines(
  "plm",
  corpus(random(50), 4000).map(({ text }) => text),
);
rows("instructions", instructions(random(51), 400));
rows("refinements", refinements(random(53), 200));
rows("questions", questions(random(52), 24));

const SPECIALS = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"];
const LETTERS = [..."abcdefghijklmnopqrstuvwxyz0123456789"];
function vocabulary(name, words, template) {
  const all = [...SPECIALS, ...new Set([...words, ...LETTERS, ...LETTERS.map((c) => `##${c}`)])];
  write(`words/${name}/vocab.txt`, `${all.join("\n")}\n`);
  const named = {
    cls_token: "[CLS]",
    pad_token: "[PAD]",
    sep_token: "[SEP]",
    unk_token: "[UNK]",
    mask_token: "[MASK]",
    eos_token: "[SEP]",
  };
  const config = { tokenizer_class: "BertTokenizer", do_lower_case: true, ...named, ...(template && { chat_template: template }) };
  write(`words/${name}/tokenizer_config.json`, `${JSON.stringify(config, null, 2)}\n`);
}
const asked =
  "what is the about ? answer question like do you improve your an first second third fourth cell caption vqa how many are there sep study we new method for on shown which helps terrible great same";
const english = [...ENGLISH, ...asked.split(" ")];
vocabulary("english", english, "{% for m in messages %}{{ m['content'] }} [SEP] {% endfor %}");
vocabulary("wide", [...english, ...coded.words, ...tongues.flatMap(({ words }) => words)]);
