/** Texts of others where people read them: names in files, what servers say, what models write. */

/**
 * A text without what would steer a terminal or change how the line around it reads: control characters and marks of writing direction are
 * written out as escapes. `keep`: characters that stay.
 */
export function printable(text: string, keep = ""): string {
  return text.replace(/[\p{Cc}\u061C\u200E\u200F\u2028\u2029\u202A-\u202E\u2066-\u2069]/gu, (c) =>
    keep.includes(c) ? c : c === "\n" ? "\\n" : c === "\r" ? "\\r" : c === "\t" ? "\\t" : `\\u{${c.codePointAt(0)!.toString(16)}}`,
  );
}
