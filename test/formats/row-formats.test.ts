/** Forms of rows that other tools write: each is held by a row here and by one in docs/data.md. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { refusal } from "../support/refusal.ts";
import { CHATML, learnt, table, texts } from "./letters.ts";

const turn = (role: string, content: string) => `<|im_start|>${role}\n${content}<|im_end|>\n`;
const HI = turn("user", "hi") + turn("assistant", "yo");
const user = { role: "user", content: "hi" };
const says = (content: string, more: object = {}) => ({ role: "assistant", content, ...more });

/** Name in the documentation, a row, its text, what is learnt of it. */
const FORMS: readonly (readonly [string, object, string, string])[] = [
  ["messages", { messages: [user, says("yo")] }, HI, "yo<|im_end|>"],
  ["messages in columns", { messages: { role: ["user", "assistant"], content: ["hi", "yo"] } }, HI, "yo<|im_end|>"],
  [
    "loss_mask",
    { messages: [user, says("no"), user, says("yo")], loss_mask: [0, 0, 0, 1] },
    turn("user", "hi") + turn("assistant", "no") + HI,
    "yo<|im_end|>",
  ],
  ["messages as text", { messages: JSON.stringify([user, says("yo")]) }, HI, "yo<|im_end|>"],
  [
    "conversations",
    {
      conversations: [
        { from: "human", value: "hi" },
        { from: "gpt", value: "yo" },
      ],
    },
    HI,
    "yo<|im_end|>",
  ],
  ["conversation of pairs", { conversation: [{ input: "hi", output: "yo" }] }, HI, "yo<|im_end|>"],
  [
    "contents",
    {
      systemInstruction: { parts: [{ text: "s" }] },
      contents: [
        { role: "user", parts: [{ text: "hi" }] },
        { role: "model", parts: [{ text: "yo" }] },
      ],
    },
    turn("system", "s") + HI,
    "yo<|im_end|>",
  ],
  [
    "system",
    {
      system: "s",
      conversations: [
        { from: "human", value: "hi" },
        { from: "chatgpt", value: "yo" },
      ],
    },
    turn("system", "s") + HI,
    "yo<|im_end|>",
  ],
  [
    "prompt and completion of messages",
    { prompt: [user, says("x"), user], completion: [says("yo")] },
    turn("user", "hi") + turn("assistant", "x") + HI,
    "yo<|im_end|>",
  ],
  [
    "instruction, input, output",
    { instruction: "do", input: "it", output: "yo" },
    turn("user", "do\nit") + turn("assistant", "yo"),
    "yo<|im_end|>",
  ],
  ["instruction, output", { instruction: "do", input: null, output: "yo" }, turn("user", "do") + turn("assistant", "yo"), "yo<|im_end|>"],
  ["instruction, output", { instruction: "do", input: "", output: "yo" }, turn("user", "do") + turn("assistant", "yo"), "yo<|im_end|>"],
  [
    "history",
    { instruction: "hi", output: "yo", system: "s", history: [["a", "b"]] },
    turn("system", "s") + turn("user", "a") + turn("assistant", "b") + HI,
    "b<|im_end|>|yo<|im_end|>",
  ],
  [
    "instruction, context, response",
    { instruction: "do", context: "it", response: "yo", category: "x" },
    turn("user", "do\nit") + turn("assistant", "yo"),
    "yo<|im_end|>",
  ],
  [
    "system_prompt, question, response",
    { id: "1", system_prompt: "s", question: "hi", response: "yo" },
    turn("system", "s") + HI,
    "yo<|im_end|>",
  ],
  ["question, answer", { question: "hi", answer: "yo" }, HI, "yo<|im_end|>"],
  ["query, response", { query: "hi", response: "yo" }, HI, "yo<|im_end|>"],
  ["prompt, response", { prompt: "hi", response: "yo" }, HI, "yo<|im_end|>"],
  ["input, output", { input: "hi", output: "yo" }, HI, "yo<|im_end|>"],
  ["prompt, completion", { prompt: "hi ", completion: "yo" }, "hi yo<|im_end|>", "yo<|im_end|>"],
  [
    "weight",
    { messages: [user, says("no", { weight: 0 }), user, says("yo", { weight: 1 })] },
    turn("user", "hi") + turn("assistant", "no") + HI,
    "yo<|im_end|>",
  ],
  [
    "masked",
    { messages: [user, says("no", { masked: true }), user, says("yo", { masked: false })] },
    turn("user", "hi") + turn("assistant", "no") + HI,
    "yo<|im_end|>",
  ],
  [
    "train",
    { messages: [user, says("no", { train: false }), user, says("yo", { train: null })] },
    turn("user", "hi") + turn("assistant", "no") + HI,
    "yo<|im_end|>",
  ],
  ["train", { messages: [{ ...user, train: true }, says("yo")] }, HI, "hi<|im_end|>|yo<|im_end|>"],
  [
    "train_detail",
    {
      messages: [
        user,
        says(" abcd", {
          train_detail: [
            { begin_offset: 0, end_offset: 2, train: false },
            { begin_offset: 3, end_offset: 4, train: true },
          ],
        }),
      ],
    },
    turn("user", "hi") + turn("assistant", " abcd"),
    "cd<|im_end|>",
  ],
  [
    "content in parts",
    {
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "h" },
            { type: "text", text: "i" },
          ],
        },
        says("yo"),
      ],
    },
    HI,
    "yo<|im_end|>",
  ],
  [
    "null fields",
    { messages: [{ ...user, tool_calls: null, name: null }, says("yo", { tool_calls: null })], tools: null },
    HI,
    "yo<|im_end|>",
  ],
  [
    "function_call and observation",
    {
      conversations: [
        { from: "human", value: "hi" },
        { from: "function_call", value: '{"name": "f", "arguments": {}}' },
        { from: "observation", value: "1" },
        { from: "gpt", value: "yo" },
      ],
    },
    turn("user", "hi") + turn("assistant", '{"name": "f", "arguments": {}}') + turn("tool", "1") + turn("assistant", "yo"),
    '{"name": "f", "arguments": {}}<|im_end|>|yo<|im_end|>',
  ],
  ["developer", { messages: [{ role: "developer", content: "s" }, user, says("yo")] }, turn("system", "s") + HI, "yo<|im_end|>"],
];

describe("rows of conversations", () => {
  test.each(FORMS)("%s", (_, row, text, said) => {
    const made = table([row]);
    expect(texts(made)).toEqual([text]);
    expect(learnt(made)).toEqual([said]);
  });
  test("each is in the documentation's table", () => {
    const page = readFileSync(new URL("../../docs/data.md", import.meta.url), "utf8");
    for (const name of [...new Set(FORMS.map(([form]) => form)), ...new Set(PAIRS.map(([form]) => form))])
      expect(page).toContain(`| ${name} |`);
  });
  test("Alpaca rows without a chat template are texts, a line for each part that is not empty", () => {
    const rows = [
      { instruction: "do", input: "it", output: "yo" },
      { instruction: "do", input: null, output: "yo" },
      { instruction: "do", output: "yo" },
    ];
    expect(texts(table(rows, { template: "" }))).toEqual(["do\nit\nyo<|im_end|>", "do\nyo<|im_end|>", "do\nyo<|im_end|>"]);
  });
  test("calls are objects, arguments too, where a template writes them; tools out of text, bare functions wrapped", () => {
    const template = `{% if tools %}{{ tools | tojson }}\n{% endif %}{% for m in messages %}{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %};{% endfor %}`;
    const called = { type: "function", function: { name: "f", arguments: '{"x": 40.0, "y": [true, null]}' } };
    const rows = [
      {
        messages: [user, { role: "assistant", content: null, tool_calls: [called] }],
        tools: '[{"type": "function", "function": {"name": "f"}}]',
      },
      {
        messages: [
          user,
          { role: "assistant", function_call: { name: "f", arguments: "{}" } },
          { role: "function", name: "f", content: "1" },
        ],
        functions: [{ name: "f" }],
      },
      {
        conversations: [
          { from: "human", value: "hi" },
          { from: "function_call", value: '[{"name": "f", "arguments": {"a": 1}}]' },
        ],
        tools: '[{"name": "f"}]',
      },
    ];
    const made = table(rows, { template });
    const tool = '[{"type": "function", "function": {"name": "f"}}]\n';
    expect(texts(made)).toEqual([
      `${tool}user:hi;assistant:{"name": "f", "arguments": {"x": 40.0, "y": [true, null]}};`,
      `${tool}user:hi;assistant:{"name": "f", "arguments": {}};tool:1;`,
      `${tool}user:hi;assistant:{"name": "f", "arguments": {"a": 1}};`,
    ]);
    expect(made.unread).toEqual(["name of messages"]);
  });
  test("content goes in parts to a template that walks through parts", () => {
    const template =
      "{% for m in messages %}{% for p in m.content %}{{ p.text }};{% endfor %}{% endfor %}{% if add_generation_prompt %}{% endif %}";
    expect(
      texts(
        table(
          [
            {
              messages: [
                {
                  role: "user",
                  content: [
                    { type: "text", text: "h" },
                    { type: "text", text: "i" },
                  ],
                },
                says("yo"),
              ],
            },
          ],
          { template },
        ),
      ),
    ).toEqual(["h;i;yo;"]);
  });
  test("learn: last answer only; roles named by the program; arguments of the template, a row's over the program's; its day", () => {
    const template = `{{ date }}{{ strftime_now('%d %b %Y') }}{% if enable_thinking is defined %} {{ enable_thinking }}{% endif %}{{ '\n' }}${CHATML}`;
    const rows = [{ messages: [user, says("a"), user, says("b")] }];
    expect(learnt(table(rows, { options: { learn: "last" } }))).toEqual(["b<|im_end|>"]);
    expect(
      texts(table([{ messages: [{ role: "teacher", content: "hi" }, says("yo")] }], { options: { roles: { teacher: "user" } } })),
    ).toEqual([HI]);
    const told = { template, options: { arguments: { enable_thinking: false, date: "d" }, date: "2026-03-01" } };
    expect(
      texts(
        table([{ messages: [user, says("yo")] }, { messages: [user, says("yo")], chat_template_kwargs: { enable_thinking: true } }], told),
      ),
    ).toEqual([`d01 Mar 2026 False\n${HI}`, `d01 Mar 2026 True\n${HI}`]);
  });
});

describe("templates that take thoughts out of earlier answers", () => {
  const QWEN = `{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and loop.index0 < ns.last %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}`;
  const thought = (n: number) => says(`<think>\nr${n}\n</think>\n\na${n}`);
  const asked = (n: number) => ({ role: "user", content: `q${n}` });
  test("each answer is learnt as it stands in the whole, thoughts where they are kept, and this is said", () => {
    const made = table(
      [{ messages: [asked(1), thought(1), asked(2), thought(2)] }, { messages: [asked(1), says("a1"), asked(2), says("a2")] }],
      { template: QWEN },
    );
    expect(texts(made)[0]).toBe(
      `${turn("user", "q1")}${turn("assistant", "a1")}${turn("user", "q2")}${turn("assistant", "<think>\nr2\n</think>\n\na2")}`,
    );
    expect(learnt(made)).toEqual(["a1<|im_end|>|<think>\nr2\n</think>\n\na2<|im_end|>", "a1<|im_end|>|a2<|im_end|>"]);
    expect(made.facts!.map(({ rewritten }) => rewritten)).toEqual([true, undefined]);
  });
  test("thoughts in a field of their own; a prompt that opens a thought which earlier answers have not", () => {
    const template = QWEN.replace(
      "{{ m.content }}{% endif %}<",
      "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}{% endif %}<",
    ).replace("assistant\n{% endif %}", "assistant\n<think>{% endif %}");
    const said = (n: number) => says(`a${n}`, { reasoning_content: `r${n}` });
    const made = table([{ messages: [asked(1), said(1), asked(2), said(2)] }], { template });
    expect(learnt(made)).toEqual(["a1<|im_end|>|r2</think>a2<|im_end|>"]);
  });
});

/** Name in the documentation, a row, the prompt, what is chosen, what is rejected. */
const PAIRS: readonly (readonly [string, object, string, string])[] = [
  ["prompt, chosen, rejected", { prompt: "p ", chosen: "a", rejected: "b" }, "p a<|im_end|>", "p b<|im_end|>"],
  ["chosen, rejected of texts", { chosen: "Q: x A: yes", rejected: "Q: x A: no" }, "Q: x A: yes<|im_end|>", "Q: x A: no<|im_end|>"],
  [
    "prompt, chosen, rejected of messages",
    { prompt: [user], chosen: [says("a")], rejected: [says("b")] },
    turn("user", "hi") + turn("assistant", "a"),
    turn("user", "hi") + turn("assistant", "b"),
  ],
  [
    "chosen, rejected of messages",
    { prompt: "hi", chosen: [user, says("a")], rejected: [user, says("b")] },
    turn("user", "hi") + turn("assistant", "a"),
    turn("user", "hi") + turn("assistant", "b"),
  ],
  [
    "conversations, chosen, rejected",
    { conversations: [{ from: "human", value: "hi" }], chosen: { from: "gpt", value: "a" }, rejected: { from: "gpt", value: "b" } },
    turn("user", "hi") + turn("assistant", "a"),
    turn("user", "hi") + turn("assistant", "b"),
  ],
  [
    "instruction, chosen, rejected",
    { instruction: "do", input: "it", chosen: "a", rejected: "b" },
    turn("user", "do\nit") + turn("assistant", "a"),
    turn("user", "do\nit") + turn("assistant", "b"),
  ],
  [
    "system, question, chosen, rejected",
    { system: "s", question: "hi", chosen: "a", rejected: "b" },
    turn("system", "s") + turn("user", "hi") + turn("assistant", "a"),
    turn("system", "s") + turn("user", "hi") + turn("assistant", "b"),
  ],
  [
    "input, preferred_output, non_preferred_output",
    { input: { messages: [user], tools: [] }, preferred_output: [says("a")], non_preferred_output: [says("b")] },
    turn("user", "hi") + turn("assistant", "a"),
    turn("user", "hi") + turn("assistant", "b"),
  ],
];

describe("rows of pairs", () => {
  test.each(PAIRS)("%s", (_, row, chosen, rejected) => {
    const made = table([row], { make: "pairs" });
    expect(texts(made, "chosen")).toEqual([chosen]);
    expect(texts(made, "rejected")).toEqual([rejected]);
    expect(made.unread).toBeUndefined();
  });
});

describe("nothing is dropped without a word", () => {
  test("columns and fields that nothing was made of", () => {
    const row = { id: 1, __index_level_0__: 4, source: null, messages: [{ ...user, timestamp: 3 }, says("yo")], tools: [{ name: "f" }] };
    expect(table([row]).unread).toEqual(["id", "__index_level_0__", "timestamp of messages", "tools"]);
    expect(table([{ prompt: "a", completion: "b", label: true, score: 1 }], { options: {} }).unread).toEqual(["score"]);
    expect(table([{ input_ids: [1], attention_mask: [1], n: 1 }]).unread).toEqual(["n"]);
  });
  const REFUSED: readonly (readonly [string, object, RegExp])[] = [
    [
      "a role that nobody knows",
      { messages: [{ role: "critic", content: "a" }] },
      /^P0715.*line 1: message 1 has the role "critic"[\s\S]*known are system[\s\S]*roles: \{ "critic"/,
    ],
    [
      "a picture",
      { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }] },
      /^P0715.*part 1 of message 1 is of the type "image_url"/,
    ],
    ["half a weight", { messages: [user, says("yo", { weight: 0.5 })] }, /^P0715.*message 2 has weight = 0.5, where 0 or 1/],
    [
      "a mask of another length",
      { messages: [user, says("yo")], loss_mask: [1] },
      /^P0715.*loss_mask is \[1\], where 0 or 1 for each of 2/,
    ],
    ["another one masked", { messages: [user, says("yo")], mask: "Assistant" }, /^P0715.*mask is "Assistant"/],
    ["a part without its text", { messages: [user, says([{ type: "text" }] as never)] }, /^P0715.*part 1 of message 2 has no text/],
    ["weights that disagree", { messages: [user, says("yo", { weight: 0, train: true })] }, /^P0715.*message 2 says both/],
    [
      "spans past the end",
      { messages: [user, says("yo", { train_detail: [{ begin_offset: 0, end_offset: 9, train: true }] })] },
      /^P0716.*2 characters/,
    ],
    [
      "calls that the template does not write",
      { messages: [user, { role: "assistant", content: "", tool_calls: [{ name: "f", arguments: {} }] }] },
      /^P0716.*line 1: the chat template of `m` does not write `tool_calls`/,
    ],
    [
      "thoughts that the template does not write",
      { messages: [user, says("yo", { reasoning_content: "r" })] },
      /^P0716.*`reasoning_content`/,
    ],
    [
      "two texts of the system",
      { system: "a", messages: [{ role: "system", content: "b" }, user, says("yo")] },
      /^P0715.*the system's text in the messages is another/,
    ],
    [
      "messages as Python prints them",
      { messages: "[{'role': 'user', 'content': \"it's\"}]" },
      /^P0715.*line 1: messages is a list as Python prints it[\s\S]*json.dumps/,
    ],
    ["tools as Python prints them", { messages: [user, says("yo")], tools: "[{'type': 'function'}]" }, /^P0715.*tools is a list as Python/],
    ["tools that are none", { messages: [user, says("yo")], tools: "f" }, /^P0715.*tools is the string "f"/],
    ["a history that is none", { instruction: "a", output: "b", history: [["x"]] }, /^P0715.*turn 1 of history/],
    ["pairs for `jsonl`", { prompt: "a", chosen: "b", rejected: "c" }, /^P0703.*`chosen` beside `prompt`[\s\S]*`pairs`/],
    ["several completions", { prompt: "a", completions: ["b"], labels: [true] }, /^P0703.*`completions`/],
    ["nothing learnt", { messages: [user, says("yo", { weight: 0 })] }, /^P0711/],
  ];
  test.each(REFUSED)("%s", (...[, row, why]) => {
    expect(refusal(() => table([row]))).toMatch(why);
  });
  test("a pair that lacks an answer, or has one twice", () => {
    expect(refusal(() => table([{ chosen: "a" }], { make: "pairs" }))).toMatch(/^P0715.*rejected is missing/);
    expect(refusal(() => table([{ chosen: [user, says("a")], rejected: [user, says("a")] }], { make: "pairs" }))).toMatch(
      /^P0715.*the same conversation/,
    );
    const printed = "[{'role': 'assistant', 'content': 'a'}]";
    expect(refusal(() => table([{ prompt: "a", chosen: printed, rejected: "b" }], { make: "pairs" }))).toMatch(
      /^P0715.*chosen is a list as Python/,
    );
    // what the user says is no answer, and would be learnt as one
    const asks = (content: string) => [{ role: "user", content }, says("a")];
    expect(refusal(() => table([{ chosen: asks("x"), rejected: asks("y") }], { make: "pairs" }))).toMatch(/^P0715.*message of the user/);
  });
});

describe("files", () => {
  test("one list of objects; each row knows its line", () => {
    const list = '[\n  {"text": "a, [b]",\n   "n": [1, 2]},\n  {"text": "c"}, {"text": "d"}\n]\n';
    const made = table(list, { options: { input: "{text}" } });
    expect(texts(made)).toEqual(["a, [b]", "c", "d"]);
    expect(made.facts!.map(({ line }) => line)).toEqual([2, 4, 4]);
    expect(refusal(() => table('[\n{"text": "a"},\n3]'))).toMatch(/^P0701.*line 3 is the number 3/);
    expect(refusal(() => table('[\n{"text": "a"},\n{"text" "b"}]'))).toMatch(/^P0701.*line 3 is not JSON: column 9/);
  });
  test("pandas' index has no name", () => {
    expect(table(",text\n0,a\n1,b\n", { make: "csv" }).unread).toEqual(["Unnamed: 0"]);
  });
  test("numbers stay as they are written, in texts and in templates", () => {
    const row =
      '{"id": 9007199254740993, "score": 40.0, "big": 12345678901234567890, "small": 1e-5, "text": "1.0", "escaped": "\\"1.0\\""}';
    expect(texts(table(row, { options: { input: "{id} {score} {big} {small} {text} {escaped}" } }))).toEqual([
      '9007199254740993 40.0 12345678901234567890 1e-5 1.0 "1.0"',
    ]);
    expect(texts(table('{"text": "a", "label": 1.0}')).length).toBe(1);
    expect(Array.from(table('{"text": "a", "label": 1.0}').columns.get("label")!.row(0))).toEqual([1]);
    expect(Array.from(table('{"input_ids": [3, 4.0, 5]}').columns.get("input_ids")!.row(0))).toEqual([3, 4, 5]);
  });
  test("templates spell as Python does", () => {
    const given = '{"a": 40.0, "b": 1e-5, "c": true, "d": [1, "it\'s", null, false], "e": {"k": 1e16}, "f": 9007199254740993}';
    const template = `{% set d = messages[0].d %}{{ d.a }} {{ d.b }} {{ d.c }} {{ none }} {{ d.d }} {{ d.e }} {{ 'x' ~ d.c ~ d.f }} {{ d | tojson }} {{ 7 / 2 }} {{ (1, 'a') }} {{ d.c | string }}\n${CHATML}`;
    const row = `{"messages": [{"role": "user", "content": "hi", "d": ${given}}, {"role": "assistant", "content": "yo"}]}`;
    expect(texts(table(row, { template }))[0].split("\n")[0]).toBe(
      `40.0 1e-05 True None [1, "it's", None, False] {'k': 1e+16} xTrue9007199254740993 {"a": 40.0, "b": 1e-05, "c": true, "d": [1, "it's", null, false], "e": {"k": 1e+16}, "f": 9007199254740993} 3.5 (1, 'a') True`,
    );
  });
});
