/** Writes GGUF files, version 3: a header, facts by name, tensors behind them, each from a multiple of 32 bytes on. */
import { type Files, writeDraft } from "./files.ts";

/** A fact: a text, or a number that is written as f32. */
export type GgufFact = string | { readonly f32: number };
export interface GgufTensor {
  readonly name: string;
  /** As row-major code has it; the file lists the sizes the other way round. */
  readonly shape: readonly number[];
  /** f32. */
  readonly values: () => ArrayLike<number>;
}

const ALIGNMENT = 32;
const F32 = 6;
const STRING = 8;
const aligned = (n: number): number => Math.ceil(n / ALIGNMENT) * ALIGNMENT;
const bytesOf = ({ shape }: GgufTensor): number => 4 * shape.reduce((n, d) => n * d, 1);

class Bytes {
  private readonly parts: Uint8Array[] = [];
  length = 0;
  raw(bytes: Uint8Array): this {
    this.parts.push(bytes);
    this.length += bytes.length;
    return this;
  }
  u32(value: number): this {
    return this.raw(new Uint8Array(Uint32Array.of(value).buffer));
  }
  u64(value: number): this {
    return this.raw(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  }
  f32(value: number): this {
    return this.raw(new Uint8Array(Float32Array.of(value).buffer));
  }
  text(value: string): this {
    const bytes = new TextEncoder().encode(value);
    return this.u64(bytes.length).raw(bytes);
  }
  padded(): Uint8Array {
    const out = new Uint8Array(aligned(this.length));
    let at = 0;
    for (const part of this.parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
}

/** P0681, P0682 as the machine refuses. */
export function writeGguf(files: Files, path: string, facts: Readonly<Record<string, GgufFact>>, tensors: readonly GgufTensor[]): void {
  const head = new Bytes().raw(new TextEncoder().encode("GGUF")).u32(3).u64(tensors.length).u64(Object.keys(facts).length);
  for (const [name, fact] of Object.entries(facts)) {
    head.text(name);
    if (typeof fact === "string") head.u32(STRING).text(fact);
    else head.u32(F32).f32(fact.f32);
  }
  let offset = 0;
  for (const tensor of tensors) {
    head.text(tensor.name).u32(tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) head.u64(size);
    head.u32(0).u64(offset);
    offset += aligned(bytesOf(tensor));
  }
  writeDraft(files, path, (draft) => {
    draft.write(head.padded());
    for (const tensor of tensors) {
      const data = Float32Array.from(tensor.values());
      const bytes = new Uint8Array(aligned(data.byteLength));
      bytes.set(new Uint8Array(data.buffer));
      draft.write(bytes);
    }
  });
}
