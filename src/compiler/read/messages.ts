/** What the lexer and the parser found wrong, put into words. */

import { EOF, type ILexingError, type IRecognitionException, type IToken, type TokenType } from "chevrotain";
import { deepest, type Note } from "../../../grammar/reader.ts";
import { closes, opens } from "../../../grammar/recover.ts";
import * as t from "../../../grammar/tokens.ts";
import type { Code } from "../../ground/codes.ts";
import type { Span } from "../../ir/graph.ts";
import { own } from "../../ir/own.ts";
import type { Problem } from "../report/problem.ts";

/** A text with its tokens, for looking around a place. */
export interface Source {
  readonly file: string;
  readonly text: string;
  readonly tokens: readonly IToken[];
}

const isEnd = (tok: IToken): boolean => Number.isNaN(tok.startOffset);

function spanOf(source: Source, tok: IToken): Span {
  const { file, tokens } = source;
  if (!isEnd(tok)) return { file, start: tok.startOffset, end: tok.startOffset + tok.image.length };
  // the end of the file is shown behind the last word, not below empty lines
  const last = tokens[tokens.length - 1];
  const end = last ? last.startOffset + last.image.length : 0;
  return { file, start: end, end };
}

const quote = (tok: IToken): string => {
  if (isEnd(tok)) return "the end of the file";
  const text = tok.image.length > 24 ? `${tok.image.slice(0, 23)}…` : tok.image;
  return `\`${text}\``;
};

const standing = (tok: IToken): string => (isEnd(tok) ? "the file ends here" : `${quote(tok)} stands here`);

/** Stands for the token behind the last. */
const END: IToken = { image: "", startOffset: Number.NaN, tokenType: EOF, tokenTypeIdx: EOF.tokenTypeIdx! };

const is = (tok: IToken | undefined, ...types: TokenType[]): boolean =>
  tok !== undefined && types.some((type) => tok.tokenType === type || (type.categoryMatches ?? []).includes(tok.tokenType.tokenTypeIdx!));

// ── characters ───────────────────────────────────────────────────────────────────────────────────

const characters: readonly { readonly of: RegExp; readonly note: string }[] = [
  { of: /["“”„‘’‚«»`]/, note: 'strings stand in straight double quotes: `"text"`' },
  { of: /[−–—]/, note: "write `-`" },
  { of: /[×·⋅]/, note: "write `*` for a product, `@` for one of matrices" },
  { of: /[÷]/, note: "write `/`" },
  { of: /[≤≥≠]/, note: "write `<=`, `>=`, `!=`" },
  { of: /[←]/, note: "write `=` or `:=`" },
  { of: /[→]/, note: "write `->`" },
  { of: /…/, note: "write `...`" },
  { of: /&/, note: "write `and`" },
  { of: /\|/, note: "write `or`" },
  { of: /\^/, note: "powers are written `**`" },
  { of: /~/, note: "write `not`" },
  { of: /\p{L}/u, note: "names are made of ASCII letters, digits and `_`; other letters may stand in strings and comments" },
];

export function characterProblem(source: Source, error: ILexingError): Problem {
  const seen = source.text.slice(error.offset, error.offset + error.length);
  const first = String.fromCodePoint(source.text.codePointAt(error.offset)!);
  const note = characters.find((c) => c.of.test(first))?.note;
  const shown = /\p{C}/u.test(first) ? `U+${first.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}` : `\`${first}\``;
  return {
    code: "P0101",
    severity: "error",
    message: `${shown} has no meaning here`,
    span: { file: source.file, start: error.offset, end: error.offset + seen.length },
    label: seen.length > first.length ? "these characters are not part of the language" : "this character is not part of the language",
    ...(note ? { notes: [note] } : {}),
  };
}

/** Comments and semicolons of other languages: one problem for each kind, however many there are. */
export function foreignProblems(source: Source, foreign: readonly IToken[]): Problem[] {
  const out: Problem[] = [];
  for (const [type, message, note] of [
    [t.ForeignComment, "a comment begins with `//`", "write `// …`"],
    [t.Semicolon, "nothing stands between statements", "leave the `;` out: a statement ends where the next one begins"],
  ] as const) {
    const all = foreign.filter((f) => f.tokenType === type);
    if (all.length === 0) continue;
    const notes: string[] = [note];
    if (all.length > 1) notes.push(`${all.length} of them in this file`);
    const at = all[0].startOffset;
    out.push({
      code: "P0111",
      severity: "error",
      message,
      span: { file: source.file, start: at, end: at + 1 },
      label: `\`${all[0].image[0]}\``,
      notes,
    });
  }
  return out;
}

/** Operators of other languages, which were read as what they mean. */
export function operatorProblems(source: Source): Problem[] {
  return source.tokens
    .filter((tok) => is(tok, t.AndAnd, t.OrOr, t.Bang))
    .map((tok) => {
      const word = is(tok, t.AndAnd) ? "and" : is(tok, t.OrOr) ? "or" : "not";
      return problem(source, "P0111", tok, `\`${tok.image}\` is written \`${word}\``, "", [`write \`${word}\``]);
    });
}

function problem(source: Source, code: Code, tok: IToken, message: string, label: string, notes: readonly string[] = []): Problem {
  return {
    code,
    severity: "error",
    message,
    span: spanOf(source, tok),
    ...(label ? { label } : {}),
    ...(notes.length > 0 ? { notes } : {}),
  };
}

// ── notes of the parser ──────────────────────────────────────────────────────────────────────────

export function noteProblem(source: Source, note: Note): Problem {
  const { token: tok, other } = note;
  const before = source.tokens[source.tokens.indexOf(tok) - 1];
  switch (note.kind) {
    case "equals-in-call":
      return problem(source, "P0108", tok, "arguments are named with `:`", "`=` here", [`write \`${before.image}: …\``]);
    case "equals-in-record":
      return problem(source, "P0108", tok, "fields of a record are named with `:`", "`=` here", [`write \`${before.image}: …\``]);
    case "colon-in-stage":
      return problem(source, "P0109", tok, "fields of a stage are given with `=`", "`:` here", [`write \`${before.image} = …\``]);
    case "comma-in-fields":
      return problem(source, "P0109", tok, "no comma stands between fields", "", ["leave the `,` out"]);
    case "bracket-on-new-line":
      return {
        ...problem(source, "P0110", tok, `this \`${tok.image}\` continues the line before`, "newlines mean nothing", [
          "if that is meant, put it at the end of the line before; if not, a name or a comma is missing",
        ]),
        severity: "warning",
      };
    case "misplaced":
      return problem(source, "P0113", tok, `\`${tok.image}\` has no place here`, "", [placeOf(tok)]);
    case "unclosed-block":
      return {
        ...problem(source, "P0106", other!, "this `{` is not closed", `no \`}\` before ${isEnd(tok) ? "the end of the file" : quote(tok)}`),
        ...(isEnd(tok) ? {} : { related: [{ span: spanOf(source, tok), label: "a declaration that stands further out begins here" }] }),
      };
    case "stray":
      return cannotBegin(source, tok);
    case "too-deep":
      return problem(source, "P0116", tok, `more than ${deepest} levels inside each other`, "from here on", [
        "name the inner parts, and use the names",
      ]);
  }
}

const placeOf = (tok: IToken): string => {
  if (is(tok, t.Import, t.Type, t.Role, t.Module, t.Method)) return `\`${tok.image}\` stands at the top level of a file`;
  if (is(tok, t.Fn)) return "functions with a name stand in a file, module or method, beside its statements";
  if (is(tok, t.Forward)) return "`forward` stands directly in a module";
  return `\`${tok.image}\` stands directly in a module or method, beside its statements; what depends on a condition is given a value with \`if … then … else none\``;
};

// ── errors of the parser ─────────────────────────────────────────────────────────────────────────

/** First words of statements in other languages, and what stands for them here. */
const foreignWords: Readonly<Record<string, string>> = {
  let: "a value is named by `name = …` alone",
  var: "a value is named by `name = …` alone",
  const: "a value is named by `name = …` alone",
  def: "functions: `fn name(x) = …` or `fn name(x) -> y { y = … }`",
  function: "functions: `fn name(x) = …` or `fn name(x) -> y { y = … }`",
  func: "functions: `fn name(x) = …` or `fn name(x) -> y { y = … }`",
  class: "layers and models: `module Name(…) { … }`; methods: `method Name(…) on Role { … }`; records: `type Name { … }`",
  struct: "records: `type Name { field: type = start }`",
  return: "an output is a name that is given a value: `-> y { y = … }`",
  print: "what is to be seen is a field of a stage: `watch = { name: … }`",
  assert: '`require condition, "why"`',
  while: "loops run over lists: `for x in list { … }`",
  elif: "`} else if … {`",
  lambda: "`fn(x) => …`",
  freeze: "what learns is a field of the stage: `params = …`",
};

/** What follows the first word of a declaration or statement. */
const follows: Readonly<Record<string, string>> = {
  import: "`{`",
  forward: "`(`",
  detach: "a selection",
  if: "a condition",
  ...Object.fromEntries(["type", "role", "module", "method", "fn", "param", "for", "attach", "model"].map((w) => [w, "a name"])),
};

/** A token that begins nothing where a statement, member or declaration was to begin, or cannot go on with the one before it. */
function cannotBegin(source: Source, tok: IToken): Problem {
  const at = source.tokens.indexOf(tok);
  const previous: IToken | undefined = source.tokens[at - 1];
  const next = source.tokens[at + 1] ?? END;
  const sameLine = previous !== undefined && previous.endLine === tok.startLine;
  if (closes(tok)) return problem(source, "P0107", tok, `this \`${tok.image}\` closes nothing`, "no bracket is open here");
  const foreign = own(foreignWords, tok.image);
  if (foreign) return problem(source, "P0107", tok, `\`${tok.image}\` is not a word of this language`, "", [foreign]);
  if (is(tok, t.Hard) && is(next, t.AssignOp)) return wordAsName(source, tok, "a name was expected");
  const after = own(follows, tok.image);
  if (after) return problem(source, "P0105", next, `${after} was expected after \`${tok.image}\``, standing(next));
  if (is(tok, t.Name)) {
    const notes = bindingHints(next, tok);
    return problem(source, "P0105", next, `${t.AssignOp.LABEL} was expected after \`${tok.image}\``, standing(next), notes);
  }
  const notes = hints(source, "", tok, previous, next, "");
  if (is(tok, t.Then)) notes.push("`if c then a else b` is an expression: `name = if c then a else b`");
  if (is(tok, t.Else)) notes.push("`else` follows the `}` of an `if`");
  if (sameLine && !opens(previous) && !is(previous, t.RCurly))
    return problem(source, "P0107", tok, `${quote(tok)} cannot follow ${quote(previous)}`, "the expression before it is complete", notes);
  if (notes.length === 0) notes.push("a statement begins with a name, or with a word such as `model`, `attach`, `for`, `if`");
  return problem(source, "P0107", tok, `nothing begins with ${quote(tok)}`, "", notes);
}

/** What a rule that found nothing to begin with was to read. */
const wanted: Readonly<Record<string, string>> = {
  TypeRef: "a type",
  Dim: "a size",
  Step: "a name, `*`, `**` or `{…}` after the `.`",
  Alternative: "a name, `*` or `**`",
  IndexItem: "an index",
  Function: "`=` and an expression, or `->` and results",
  Setting: "a field `name = …`",
  Entry: "a field `name: …`",
  If: "`if` or `{` after `else`",
  Fields: "`{`",
};
const statements = new Set(["Statement", "Item", "Member", "Misplaced", "Program", "Block", "Members"]);

/** The bracket that is open in front of a token, of the kind that `close` closes. */
function openBracket(source: Source, at: number, close: string): IToken | undefined {
  const pairs: Record<string, string> = { ")": "(", "]": "[", "}": "{" };
  let depth = 0;
  for (let i = at - 1; i >= 0; i--) {
    const tok = source.tokens[i];
    if (closes(tok)) depth++;
    else if (opens(tok)) {
      if (depth === 0) return tok.image === pairs[close] ? tok : undefined;
      depth--;
    }
  }
  return undefined;
}

export function errorProblem(source: Source, error: IRecognitionException): Problem {
  const tok = error.token;
  const rule = error.context.ruleStack[error.context.ruleStack.length - 1];
  const at = isEnd(tok) ? source.tokens.length : source.tokens.indexOf(tok);
  const previous: IToken | undefined = source.tokens[at - 1];
  const next = source.tokens[at + 1];

  if (error.name === "NoViableAltException") {
    if (statements.has(rule)) return cannotBegin(source, tok);
    const want = wanted[rule] ?? "a value";
    if (is(tok, t.Hard) && want === "a value") return wordAsName(source, tok, "a value was expected");
    return problem(source, "P0105", tok, `${want} was expected`, standing(tok), hints(source, want, tok, previous, next, rule));
  }

  const want = error.message;
  if (want === t.Name.LABEL && is(tok, t.Hard)) return wordAsName(source, tok, "a name was expected");
  const close = /^`([)\]}])`$/.exec(want)?.[1];
  if (close) {
    const open = openBracket(source, at, close);
    const newLine = isEnd(tok) || (previous && tok.startLine !== previous.endLine);
    if (open && newLine)
      return {
        ...problem(
          source,
          "P0106",
          open,
          `this \`${open.image}\` is not closed`,
          `no \`${close}\` for it`,
          hints(source, want, tok, previous, next, rule),
        ),
        related: [{ span: spanOf(source, tok), label: isEnd(tok) ? "the file ends here" : `${quote(tok)} cannot stand inside it` }],
      };
    const list = rule === "TypeRef" || rule === "Primary" ? "" : "`,` or ";
    return {
      ...problem(source, "P0105", tok, `${list}\`${close}\` was expected`, standing(tok), hints(source, want, tok, previous, next, rule)),
      ...(open ? { related: [{ span: spanOf(source, open), label: "opened here" }] } : {}),
    };
  }
  if (rule === "Binding" && want === t.AssignOp.LABEL) {
    const foreign = previous && own(foreignWords, previous.image);
    const notes = foreign ? [foreign] : bindingHints(tok, previous);
    return problem(source, "P0105", tok, `${want} was expected after ${quote(previous!)}`, standing(tok), notes);
  }
  return problem(source, "P0105", tok, `${want} was expected`, standing(tok), hints(source, want, tok, previous, next, rule));
}

function wordAsName(source: Source, tok: IToken, message: string): Problem {
  return problem(source, "P0112", tok, `${message}, and \`${tok.image}\` is a word of the language`, "cannot be a name", [
    `another name will do, for example \`${tok.image}_\`; after a dot and as a quoted key of a record any word may stand`,
  ]);
}

function bindingHints(tok: IToken, previous: IToken | undefined): string[] {
  if (is(tok, t.LParen)) return [`a call is not a statement: give what it returns a name, \`name = ${previous?.image ?? "f"}(…)\``];
  if (is(tok, t.Colon)) return ["a type is declared for parameters, fields and inputs; a value has the type of its expression"];
  if (is(tok, t.AddOp, t.MulOp))
    return ["there is no `+=`; a new value has a new name, and `x := x + …` in a method rebinds one of the model's"];
  if (is(tok, t.EqualEqual)) return ["`==` compares; a name is given a value with `=`"];
  return [
    "a statement gives a name a value (`x = …`), rebinds one (`x := …`), or begins with a word such as `model`, `attach`, `for`, `if`",
  ];
}

function hints(source: Source, want: string, tok: IToken, previous: IToken | undefined, next: IToken | undefined, rule: string): string[] {
  const out: string[] = [];
  if (is(tok, t.CompareOp) && insideCompare(source, tok)) out.push("comparisons do not chain: `a < b and b < c`");
  if (is(tok, t.Equals)) {
    if (rule === "If") out.push("`==` compares");
    else if (want.includes(")")) out.push("arguments are named with `:`");
  }
  if (is(tok, t.DotDot) || is(previous, t.DotDot))
    out.push("`..` has a number on both sides; in the brackets of an index the end may be left out: `layer[2..]`");
  if (is(tok, t.Question)) out.push("a choice is written `if c then a else b`; a value in place of `none`, `x ?? y`");
  if (is(tok, t.Dot) && is(next, t.Digits)) out.push(`a number begins with a digit: \`0.${next!.image}\``);
  if (want === t.LCurly.LABEL) {
    if (is(tok, t.Then)) out.push("`if … then … else …` is an expression, `if … { … }` a statement");
    if (is(tok, t.Colon)) out.push("blocks stand in `{ }`");
    if (is(tok, t.On)) out.push("`on` says what a `method` is attached to; a module has no `on`");
  }
  if (rule === "Attach" && want === t.To.LABEL) out.push("an attachment says where it goes: `attach name = Method(…) to model.path`");
  if (rule === "Method" && want === t.On.LABEL) out.push("a method says what it fits: `method Name(…) on Linear { … }`");
  if (rule === "For" && want === t.In.LABEL) out.push("`for x in list { … }`");
  if (rule === "Choice" && want === t.Else.LABEL) out.push("a choice has both sides: `if c then a else b`; one of them may be `none`");
  if (rule === "Choice" && want === t.Then.LABEL) out.push("a choice is written `if c then a else b`");
  if (rule === "Choice" && want === t.FatArrow.LABEL) out.push("a function as a value is written `fn(x) => …`");
  if (want === t.FatArrow.LABEL && is(tok, t.Arrow)) out.push("`->` declares the results of a function with a name");
  if (rule === "Import") out.push('`import { A, B as C } from "std/nn"`');
  if (want === "a value" && is(tok, t.AssignOp) && previous) out.push("was a name meant in front of it?");
  if (want === "a value" && closes(tok) && is(previous, t.AddOp, t.MulOp, t.CompareOp))
    out.push(`${quote(previous!)} needs a value on its right`);
  return out;
}

/** Whether a comparison already stands between the last opening of anything and this one. */
function insideCompare(source: Source, tok: IToken): boolean {
  for (let i = source.tokens.indexOf(tok) - 1, depth = 0; i >= 0; i--) {
    const x = source.tokens[i];
    if (closes(x)) depth++;
    else if (opens(x)) {
      if (depth === 0) return false;
      depth--;
    } else if (depth === 0) {
      if (is(x, t.CompareOp)) return true;
      if (is(x, t.And, t.Or, t.AssignOp, t.Comma, t.Then, t.Else)) return false;
    }
  }
  return false;
}
