/** Writes the files of SentencePiece that tests read. */

/** A SentencePiece model: pieces with score and type, the kind of model (1 unigram, 2 byte pairs), how texts are made ready; with byte fallback. */
export function sentencePiece(
  pieces: readonly (readonly [string, number, number?])[],
  kind: number,
  ready: { prefix?: boolean; collapse?: boolean } = {},
): Uint8Array {
  const bytes = (field: number, inner: readonly number[]) => [field * 8 + 2, ...varint(inner.length), ...inner];
  const varint = (value: number): number[] => (value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))]);
  const float = (value: number) => [...new Uint8Array(Float32Array.of(value).buffer)];
  const out = pieces.flatMap(([text, score, type = 1]) =>
    bytes(1, [...bytes(1, [...new TextEncoder().encode(text)]), 21, ...float(score), 24, type]),
  );
  const { prefix = true, collapse = true } = ready;
  return Uint8Array.from([...out, ...bytes(2, [24, kind, ...varint(35 * 8), 1]), ...bytes(3, [24, Number(prefix), 32, Number(collapse)])]);
}
