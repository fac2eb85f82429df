/** Tensors as bytes, for files that no writer of ours writes. */
export interface Raw {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}
export const raw = (dtype: string, shape: readonly number[], values: ArrayBufferView): Raw => ({
  dtype,
  shape,
  bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
});
