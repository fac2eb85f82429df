import { describe, expect, test } from "@jest/globals";
import { refusal } from "../support/refusal.ts";
import { id, ids, lines, made, rows, spec, wordFiles } from "./words.ts";

const PLAIN =
  "{{ bos_token }} {% for m in messages %}{{ m.role }} {{ m.content }} [EOS]\n{% endfor %}{% if add_generation_prompt %}assistant {% endif %}";
/** Earlier answers are shortened once later turns follow, as in templates that drop what was thought. */
const FORGETFUL =
  "{% for m in messages %}{{ m.role }} {% generation %}{{ m.content if loop.last or m.role == 'user' else 'no' }} [EOS]{% endgeneration %}\n{% endfor %}";
const TALK = {
  messages: [
    { role: "user", content: "the cat" },
    { role: "assistant", content: "sat on" },
    { role: "user", content: "a dog" },
    { role: "assistant", content: "yes" },
  ],
};
const learnt = (table: Parameters<typeof rows>[0]): string[] =>
  rows(table, "labels").map((row) => row.map((label) => (label === -100 ? "." : String(label))).join(" "));

describe("chat templates", () => {
  test("answers are found by rendering with and without them; a line end behind the last token is not learnt", () => {
    const files = wordFiles({ d: lines([TALK]) }, PLAIN);
    const table = made(files, spec("chat", ["d"]));
    expect(rows(table, "input_ids")).toEqual([ids("[BOS] user the cat [EOS] assistant sat on [EOS] user a dog [EOS] assistant yes [EOS]")]);
    expect(learnt(table)).toEqual([`. . . . . . ${id("sat")} ${id("on")} 3 . . . . . ${id("yes")} 3`]);
    expect(table.facts).toEqual([{ line: 1, tokens: 16, labelled: 5, merged: false }]);
  });
  test("{% generation %} says what is learnt, with the white space that the tags leave, also where turns are rewritten", () => {
    const marked = PLAIN.replace(
      "{{ m.content }} [EOS]",
      "{%- if m.role == 'assistant' %} {% generation -%} {{ m.content }} [EOS]\n  {%- endgeneration %}\n{% else %} {{ m.content }} [EOS]{% endif %}",
    );
    const table = made(wordFiles({ d: lines([TALK]) }, marked), spec("chat", ["d"]));
    expect(learnt(table)).toEqual([`. . . . . . ${id("sat")} ${id("on")} 3 . . . . . ${id("yes")} 3`]);
    const forgetful = made(wordFiles({ d: lines([TALK]) }, FORGETFUL), spec("chat", ["d"]));
    expect(rows(forgetful, "input_ids")[0].slice(4, 7)).toEqual([id("assistant"), id("no"), id("[EOS]")]);
    expect(
      refusal(() => made(wordFiles({ d: lines([TALK]) }, FORGETFUL.replace(/\{% (end)?generation %\}/g, "")), spec("chat", ["d"]))),
    ).toMatch(/^P0716.*writes what comes before message 4 otherwise[\s\S]*generation/);
  });
  test("a template by name, tools for the one that is for them, files over the configuration", () => {
    const several = [
      { name: "default", template: PLAIN },
      { name: "tool_use", template: `{{ tools | length }}${PLAIN}` },
      { name: "short", template: "{% for m in messages %}{{ m.content }} {% endfor %}" },
    ];
    const data = { d: lines([TALK]), e: lines([{ ...TALK, tools: [{ name: "f" }] }]) };
    const files = wordFiles(data, several);
    expect(rows(made(files, spec("chat", ["d"], { template: "short" })), "input_ids")).toEqual([ids("the cat sat on a dog yes")]);
    // the number of tools joins the first word, which then is unknown
    expect(rows(made(files, spec("chat", ["e"])), "input_ids")[0][0]).toBe(id("[UNK]"));
    expect(refusal(() => made(files, spec("chat", ["d"], { template: "long" })))).toMatch(
      /^P0714.*"long"\nit has: default, tool_use, short/,
    );
    const own = wordFiles({ ...data, "m/chat_template.jinja": "{% for m in messages %}{{ m.content }} [EOS] {% endfor %}" }, several);
    expect(rows(made(own, spec("chat", ["d"])), "input_ids")[0].slice(0, 3)).toEqual(ids("the cat [EOS]"));
  });
  test("calls of tools are learnt as the template writes them; jsonl with messages is a chat", () => {
    const talk = {
      messages: [
        { role: "user", content: "a" },
        { role: "assistant", tool_calls: [{ name: "f" }] },
        { role: "tool", content: "on" },
        { role: "assistant", content: "yes" },
      ],
    };
    const files = wordFiles(
      { d: lines([talk]) },
      PLAIN.replace("{{ m.content }}", "{{ m.content }}{% for c in m.tool_calls or [] %}great{% endfor %}"),
    );
    expect(learnt(made(files, spec("jsonl", ["d"])))).toEqual([`. . . . . ${id("great")} 3 . . . . ${id("yes")} 3`]);
  });
});

describe("pairs", () => {
  test("texts behind a prompt", () => {
    const files = wordFiles({ d: lines([{ prompt: "the cat", chosen: "sat on", rejected: "no" }]) });
    const table = made(files, spec("pairs", ["d"]));
    expect(rows(table, "chosen")).toEqual([ids("the cat sat on [EOS]")]);
    expect(rows(table, "rejected")).toEqual([ids("the cat no [EOS]")]);
    expect(rows(table, "rejected_mask")).toEqual([[1, 1, 1, 1]]);
    expect(rows(table, "prompt_length")).toEqual([[2]]);
    const framed = made(files, spec("pairs", ["d"]), { tokenizer: "framed" });
    expect(rows(framed, "chosen")).toEqual([ids("[BOS] the cat sat on [EOS]")]);
    expect(refusal(() => made(files, spec("pairs", ["d"]), { sequence: 2 }))).toMatch(/^P0711.*prompt takes 2 tokens, so sequence = 2/);
  });
  test("answers that are the same are left out, and said; a table of nothing else is none", () => {
    const [pair, same] = [
      { prompt: "the cat", chosen: "sat on", rejected: "no" },
      { prompt: "a dog", chosen: "yes", rejected: "yes" },
    ];
    const files = wordFiles({ d: lines([same, pair, { ...pair, chosen: "sat no", rejected: "sat on" }]), e: lines([same]) });
    const table = made(files, spec("pairs", ["d"]));
    expect([table.rows, table.facts?.map(({ line }) => line), table.without?.rows]).toEqual([2, [2, 3], 1]);
    // what tells them apart is cut off
    expect(made(files, spec("pairs", ["d"]), { sequence: 3 })).toMatchObject({ rows: 1, without: { rows: 2 } });
    expect(refusal(() => made(files, spec("pairs", ["e"])))).toMatch(/^P0703.*leaves no pair.*nothing to prefer/);
  });
  test("messages, after a prompt or after what both conversations share", () => {
    const [asked, , ...rest] = TALK.messages;
    const say = (content: string) => [{ role: "assistant", content }];
    const whole = { chosen: [asked, ...say("sat")], rejected: [asked, ...say("no")] };
    const files = wordFiles(
      {
        d: lines([{ prompt: [asked], chosen: say("sat"), rejected: say("no") }]),
        e: lines([whole]),
        f: lines([{ chosen: rest, rejected: rest }]),
      },
      PLAIN,
    );
    for (const path of ["d", "e"]) {
      const table = made(files, spec("pairs", [path]));
      expect(rows(table, "chosen")).toEqual([ids("[BOS] user the cat [EOS] assistant sat [EOS]")]);
      expect(rows(table, "prompt_length")).toEqual([[6]]);
    }
    expect(refusal(() => made(files, spec("pairs", ["f"])))).toMatch(/^P0715.*the same conversation/);
  });
  test("answers of two stages, row by row, by a column of scores if there is one", () => {
    const samples = (answers: string[], scores: number[]) =>
      lines(answers.map((text, row) => ({ row, prompt: `asked ${row}`, text, reward: scores[row] })));
    const files = wordFiles({
      d: lines([{ prompt: "the cat" }, { prompt: "a dog" }, { prompt: "it" }]),
      "a/samples.jsonl": samples(["sat", "yes", "was"], [1, 0, 2]),
      "b/samples.jsonl": samples(["on", "no", "great"], [0, 1, 2]),
    });
    const of = (folder: string) => spec("generated", [folder, spec("jsonl", ["d"])]);
    const plain = made(files, spec("pairs", [of("a"), of("b")]));
    expect(plain.rows).toBe(3);
    const scored = made(files, spec("pairs", [of("a"), of("b")], { by: "reward" }));
    expect([rows(scored, "chosen").map((row) => row.at(-2)), rows(scored, "rejected").map((row) => row.at(-2))]).toEqual([
      ids("sat no"),
      ids("on yes"),
    ]);
    expect(refusal(() => made(files, spec("pairs", [of("a"), of("b")], { by: "score" })))).toMatch(/^P0703.*no number `score`/);
    expect(refusal(() => made(files, spec("pairs", [of("a"), spec("jsonl", ["d"])])))).toMatch(/^P0703.*has no answer to pair/);
  });
});

describe("what stages wrote", () => {
  test("is asked to be made better, as a text or as one more turn", () => {
    const files = wordFiles(
      {
        d: lines([{ prompt: "the cat" }]),
        t: lines([{ messages: TALK.messages.slice(0, 2) }]),
        "s/samples.jsonl": lines([
          { row: 0, prompt: "the cat", text: "sat" },
          { row: 0, prompt: "the cat", text: "no" },
        ]),
      },
      PLAIN,
    );
    const again = made(files, spec("refine", [spec("generated", ["s", spec("jsonl", ["d"])]), "Make it better"]), { promptsOnly: true });
    // the texts join without a space, as a model goes on from them
    expect(again.rows).toBe(2);
    expect(rows(again, "input_ids")[0]).toEqual([id("the"), id("[UNK]"), ...ids("Make it better")]);
    const talk = made(files, spec("refine", [spec("generated", ["s", spec("chat", ["t"])]), "Make it better"]), { promptsOnly: true });
    expect(rows(talk, "input_ids")[1]).toEqual(ids("[BOS] user the cat [EOS] assistant no [EOS] user Make it better [EOS] assistant"));
    const learn = made(files, spec("generated", ["s", spec("chat", ["t"])]));
    expect(rows(learn, "labels")[0].slice(-2)).toEqual(ids("sat [EOS]"));
  });
});
