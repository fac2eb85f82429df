/** What templates make of calls of tools, and what is learnt of conversations that have some. Templates are of the kinds that published models bring. */
import { describe, expect, test } from "@jest/globals";
import { JinjaTemplate } from "../../src/formats/data/jinja.ts";
import { refusal } from "../support/refusal.ts";
import { learnt, table, texts } from "./letters.ts";

const user = (content: string) => ({ role: "user", content });
const calls = (...args: unknown[]) => ({
  role: "assistant",
  content: "",
  tool_calls: args.map((one) => ({ type: "function", function: { name: "f", arguments: one } })),
});
const tool = (content: string) => ({ role: "tool", content });
const says = (content: string) => ({ role: "assistant", content });
const turn = (inside: string) => `<|im_start|>assistant\n${inside}<|im_end|>\n`;

/** A last answer gets a thought; a call begins a line where something was said before it. */
const THINKS =
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}" +
  "{% for c in m.tool_calls or [] %}{% if m.content or not loop.first %}{{ '\n' }}{% endif %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}" +
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const CALL = '<tool_call>{"name": "f", "arguments": {"x": 1.0}}</tool_call>';

describe("a template that writes an answer otherwise once it is not the last", () => {
  test("a call without a word beside it is learnt as it stands in the whole", () => {
    const row =
      '{"messages": [{"role":"user","content":"a"},{"role":"assistant","content":"","tool_calls":[{"type":"function","function":{"name":"f","arguments":{"x":1.0}}}]},{"role":"tool","content":"f 3"},{"role":"assistant","content":"b"}]}';
    const made = table(row, { template: THINKS });
    expect(texts(made)).toEqual([
      `<|im_start|>user\na<|im_end|>\n${turn(CALL)}<|im_start|>tool\nf 3<|im_end|>\n${turn("<think>\n\n</think>\n\nb")}`,
    ]);
    expect(learnt(made)).toEqual([`${CALL}<|im_end|>|<think>\n\n</think>\n\nb<|im_end|>`]);
  });
  test("the name of what is called may be written again where it answers", () => {
    const template = THINKS.replace(
      "{{ m.content }}",
      "{% if m.role == 'tool' %}{{ messages[loop.index0 - 1].tool_calls[0].function.name }}:{% endif %}{{ m.content }}",
    );
    const made = table([{ messages: [user("a"), calls({}), tool("3"), says("b")] }], { template });
    expect(texts(made)[0]).toContain("<|im_start|>tool\nf:3<|im_end|>");
    expect(learnt(made)).toEqual(['<tool_call>{"name": "f", "arguments": {}}</tool_call><|im_end|>|<think>\n\n</think>\n\nb<|im_end|>']);
  });
  test("a thought that it keeps is learnt, though it ends with a token that nothing follows", () => {
    const template =
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% else %}END{% endif %}";
    const made = table([{ messages: [user("a"), says("<think>t</think>b"), user("c"), says("d")] }], { template });
    expect(learnt(made)).toEqual(["<think>t</think>b<|im_end|>|d<|im_end|>END"]);
  });
  test("one that puts what a tool says into the answer is refused", () => {
    const template =
      "{% for m in messages %}{% if m.role == 'user' %}<u>{{ m.content }}{% elif m.role == 'assistant' %}<m>{% for c in m.tool_calls or [] %}[{{ c.function.name }}]{% endfor %}" +
      "{% if m.tool_calls and not loop.last %}{{ messages[loop.index].content }};{% endif %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<m>{% endif %}";
    const row = { messages: [user("a"), { ...calls({}), content: "b" }, tool("3"), says("d")] };
    expect(refusal(() => table([row], { template }))).toMatch(/^P0716[\s\S]*nobody can tell which tokens the assistant says/);
  });
});

test("arguments are texts, as the file has them, for a template that writes texts alone", () => {
  const template =
    "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ 'f:' + c.function.arguments }}{% endfor %};{% endfor %}";
  const made = (args: unknown) => texts(table([{ messages: [user("a"), calls(args)] }], { template }));
  expect(made('{"x":1.0,  "y": 2}')).toEqual(['a;f:{"x":1.0,  "y": 2};']);
  expect(made({ x: [true, null] })).toEqual(['a;f:{"x": [true, null]};']);
});

test("operators, filters and line ends are Python's", () => {
  const print = (source: string, values = {}) => new JinjaTemplate(source).render(values);
  expect(print("{{ '1' == 1 }} {{ 1 == 1.0 }} {{ 1 == true }} {{ none == nothing }} {{ [1, 'a'] == [1.0, 'a'] }} {{ '' != false }}")).toBe(
    "False True True False True True",
  );
  expect(print("{{ 'a' + 'b' }} {{ 1 + 2.0 }} {{ [1] + [2] }}")).toBe("ab 3.0 [1, 2]");
  expect(() => print("{{ 'a' + x }}", { x: { y: 1 } })).toThrow("`+` of str and dict");
  expect(() => print("{{ 'a' + 1 }}")).toThrow("`+` of str and int");
  expect(print("{{ x | upper }} {{ 5 | trim }} {{ none | replace('N', 'n') }}", { x: ["a", null] })).toBe("['A', NONE] 5 none");
  expect(print("{% if true %}\r\na\r\n{% endif %}\r\nb")).toBe("a\nb");
});
