/** Text out of tokens one at a time, without half characters. */

/** Tokens after which the window of what is decoded again moves on. */
const WINDOW = 64;
/** Tokens that stay in it, so that a decoder that looks at neighbours sees them. */
const CONTEXT = 8;

/**
 * Gives out what later tokens can no longer change: not the bytes of an unfinished character, and, where the decoder joins words to
 * punctuation across a space (`joins`), not the last two words.
 */
export class TextStream {
  private window: number[] = [];
  private given = 0;

  constructor(
    private readonly decode: (ids: readonly number[]) => string,
    private readonly joins: boolean,
  ) {}

  /** The text that this token settles; may be empty. */
  push(id: number): string {
    this.window.push(id);
    const text = this.decode(this.window);
    const out = text.slice(this.given, this.settled(text));
    this.given += out.length;
    if (this.window.length > WINDOW) this.slide(text.slice(this.given));
    return out;
  }

  /** What was still held back. */
  end(): string {
    const text = this.decode(this.window);
    const out = text.slice(this.given);
    this.window = [];
    this.given = 0;
    return out;
  }

  private settled(text: string): number {
    let end = text.length;
    while (end > 0 && text[end - 1] === "\ufffd") end--;
    if (!this.joins) return end;
    const last = text.lastIndexOf(" ", end - 1);
    return Math.max(0, last <= 0 ? 0 : text.lastIndexOf(" ", last - 1));
  }

  /** Forgets old tokens, if those that stay decode to the same end. */
  private slide(held: string): void {
    const kept = this.window.slice(-CONTEXT);
    const text = this.decode(kept);
    if (text.length < held.length || !text.endsWith(held)) return;
    this.window = kept;
    this.given = text.length - held.length;
  }
}
