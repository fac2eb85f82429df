/** A place in a source file: offsets of UTF-16 code units, end exclusive. */
export interface Span {
  readonly file: string;
  readonly start: number;
  readonly end: number;
}
