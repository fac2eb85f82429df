/**
 * The words and signs of the language, as `grammar.ebnf` lists them. Abstract tokens stand for sets: `Name` is an identifier or a soft
 * word, `AnyName` is what may follow a dot.
 */
import { type CustomPatternMatcherFunc, createToken, type IToken, Lexer, type TokenType } from "chevrotain";

const all: TokenType[] = [];
const token = (name: string, pattern: RegExp | string, label: string, categories: TokenType[] = []): TokenType => {
  const t = createToken({ name, pattern, label, categories });
  all.push(t);
  return t;
};
const abstract = (name: string, label: string, categories: TokenType[] = []): TokenType => {
  const t = createToken({ name, pattern: Lexer.NA, label, categories });
  all.push(t);
  return t;
};

// ── sets ─────────────────────────────────────────────────────────────────────────────────────────

export const AnyName = abstract("AnyName", "a name");
export const Name = abstract("Name", "a name", [AnyName]);
export const Text = abstract("Text", "a string");
export const AssignOp = abstract("AssignOp", "`=` or `:=`");
export const CompareOp = abstract("CompareOp", "a comparison");
export const AddOp = abstract("AddOp", "`+` or `-`");
export const MulOp = abstract("MulOp", "`*`, `/`, `%` or `@`");
/** Words that are never names, except after a dot. */
export const Hard = abstract("Hard", "a word of the language", [AnyName]);

// ── skipped ──────────────────────────────────────────────────────────────────────────────────────

export const Space = createToken({ name: "Space", pattern: /[\s\uFEFF]+/, group: Lexer.SKIPPED, line_breaks: true });
export const Comment = createToken({ name: "Comment", pattern: /\/\/[^\n\r]*/, group: "comments" });
/** What other languages write: dropped, and reported. */
export const ForeignComment = createToken({ name: "ForeignComment", pattern: /#[^\n\r]*/, group: "foreign" });
export const Semicolon = createToken({ name: "Semicolon", pattern: ";", group: "foreign" });
all.push(Space, Comment, ForeignComment, Semicolon);

// ── literals ─────────────────────────────────────────────────────────────────────────────────────

/** Runs a pattern that holds only where the token in front passes `after`. */
const where = (pattern: RegExp, after: (last: IToken | undefined) => boolean): CustomPatternMatcherFunc => {
  const sticky = new RegExp(pattern.source, "y");
  return (text, offset, matched) => {
    if (!after(matched[matched.length - 1])) return null;
    sticky.lastIndex = offset;
    return sticky.exec(text);
  };
};
const digits = [..."0123456789"];

/** After a dot digits only, so that `mlp.0.1` is two steps. */
export const Digits = createToken({
  name: "Digits",
  pattern: where(/[0-9]+/, (last) => last?.tokenType === Dot),
  label: "a number",
  line_breaks: false,
  start_chars_hint: digits,
  categories: [AnyName],
});
/** With whatever letters follow: whether they are a unit is said where the value is read. */
export const NumberLiteral = token("Number", /[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?:[A-Za-z_][A-Za-z0-9_]*)?/, "a number");
all.splice(all.indexOf(NumberLiteral), 0, Digits);
export const StringLiteral = token("String", /"(?:[^"\\\n\r]|\\[^\n\r])*"/, "a string", [Text]);
/** Not closed on its line. */
export const OpenString = token("OpenString", /"(?:[^"\\\n\r]|\\[^\n\r])*\\?/, "a string", [Text]);
/** As other languages write it: read, and reported. */
export const SingleQuoted = token("SingleQuoted", /'[^'\n\r]*'?/, "a string", [Text]);

// ── signs, longest first ─────────────────────────────────────────────────────────────────────────

export const Ellipsis = token("Ellipsis", "...", "`...`");
export const DotDot = token("DotDot", "..", "`..`");
export const Dot = token("Dot", ".", "`.`");
export const StarStar = token("StarStar", "**", "`**`");
export const Star = token("Star", "*", "`*`", [MulOp]);
export const Rebind = token("Rebind", ":=", "`:=`", [AssignOp]);
export const Colon = token("Colon", ":", "`:`");
export const FatArrow = token("FatArrow", "=>", "`=>`");
export const EqualEqual = token("EqualEqual", "==", "`==`", [CompareOp]);
export const Equals = token("Equals", "=", "`=`", [AssignOp]);
export const NotEqual = token("NotEqual", "!=", "`!=`", [CompareOp]);
export const LessEqual = token("LessEqual", "<=", "`<=`", [CompareOp]);
export const Less = token("Less", "<", "`<`", [CompareOp]);
export const GreaterEqual = token("GreaterEqual", ">=", "`>=`", [CompareOp]);
export const Greater = token("Greater", ">", "`>`", [CompareOp]);
export const Arrow = token("Arrow", "->", "`->`");
export const Minus = token("Minus", "-", "`-`", [AddOp]);
export const Plus = token("Plus", "+", "`+`", [AddOp]);
export const Slash = token("Slash", "/", "`/`", [MulOp]);
export const Percent = token("Percent", "%", "`%`", [MulOp]);
export const At = token("At", "@", "`@`", [MulOp]);
export const Coalesce = token("Coalesce", "??", "`??`");
export const Question = token("Question", "?", "`?`");
export const Comma = token("Comma", ",", "`,`");
export const LParen = token("LParen", "(", "`(`");
export const RParen = token("RParen", ")", "`)`");
export const LSquare = token("LSquare", "[", "`[`");
export const RSquare = token("RSquare", "]", "`]`");
export const LCurly = token("LCurly", "{", "`{`");
export const RCurly = token("RCurly", "}", "`}`");

// ── words ────────────────────────────────────────────────────────────────────────────────────────

export const Identifier = createToken({ name: "Identifier", pattern: /[A-Za-z_][A-Za-z0-9_]*/, label: "a name", categories: [Name] });
const word = (text: string, set: TokenType): TokenType => {
  const t = createToken({ name: text, pattern: text, label: `\`${text}\``, longer_alt: Identifier, categories: [set] });
  words.push(t);
  return t;
};
const words: TokenType[] = [];
const hard = (text: string) => word(text, Hard);
const soft = (text: string) => word(text, Name);

export const Import = hard("import");
export const Type = hard("type");
export const Role = hard("role");
export const Module = hard("module");
export const Method = hard("method");
export const Fn = hard("fn");
export const Forward = hard("forward");
export const Param = hard("param");
export const For = hard("for");
export const If = hard("if");
export const In = hard("in");
export const Then = hard("then");
export const Else = hard("else");
export const And = hard("and");
export const Or = hard("or");
export const Not = hard("not");
export const None = hard("none");
export const True = hard("true");
export const False = hard("false");
export const Attach = hard("attach");
export const Detach = hard("detach");
export const Except = hard("except");

export const From = soft("from");
export const As = soft("as");
export const Model = soft("model");
export const On = soft("on");
export const To = soft("to");
export const Expect = soft("expect");
export const State = soft("state");
export const Shared = soft("shared");
export const Frozen = soft("frozen");
export const Input = soft("input");
export const Require = soft("require");

// a word in front of one that begins like it would end as a plain identifier: `in` and `input`
all.push(...words.sort((a, b) => b.name.length - a.name.length));

/** Signs of other languages that mean a word here: read as that word, and reported. */
export const AndAnd = token("AndAnd", "&&", "`&&`", [And]);
export const OrOr = token("OrOr", "||", "`||`", [Or]);
export const Bang = token("Bang", "!", "`!`", [Not]);
all.push(Identifier);

export const tokens: readonly TokenType[] = all;
/** `checked`: whether each kind of token can be met at all, and a mistake is an error; tests look, not each run. */
export const lexerOf = (checked: boolean) =>
  new Lexer(all, { positionTracking: "full", ensureOptimizations: true, skipValidations: !checked });
export const lexer = lexerOf(false);
