/** Writes GGUF files, version 3: a header, facts by name, tensors behind them, each from a multiple of 32 bytes on. */
import { type Files, writeDraft } from "./files.ts";
import { encodeBlocks, GGUF_TYPES, type GgufType, sizeIn } from "./gguf-blocks.ts";

/** A fact: a text, a number, a truth, or a list. */
export type GgufFact =
  | string
  | { readonly f32: number }
  | { readonly u32: number }
  | { readonly bool: boolean }
  | { readonly strings: readonly string[] }
  | { readonly i32s: readonly number[] };
export interface GgufTensor {
  readonly name: string;
  /** As row-major code has it; the file lists the sizes the other way round. */
  readonly shape: readonly number[];
  /** How it is stored; none: f32. */
  readonly type?: GgufType;
  readonly values: () => ArrayLike<number>;
}

const ALIGNMENT = 32;
const [U32, I32, F32, BOOL, STRING, ARRAY] = [4, 5, 6, 7, 8, 9];
const aligned = (n: number): number => Math.ceil(n / ALIGNMENT) * ALIGNMENT;
const bytesOf = ({ shape, type = "f32" }: GgufTensor): number =>
  sizeIn(
    type,
    shape.reduce((n, d) => n * d, 1),
  );

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
    else if ("f32" in fact) head.u32(F32).f32(fact.f32);
    else if ("u32" in fact) head.u32(U32).u32(fact.u32);
    else if ("bool" in fact) head.u32(BOOL).raw(Uint8Array.of(Number(fact.bool)));
    else if ("strings" in fact) {
      head.u32(ARRAY).u32(STRING).u64(fact.strings.length);
      for (const one of fact.strings) head.text(one);
    } else
      head
        .u32(ARRAY)
        .u32(I32)
        .u64(fact.i32s.length)
        .raw(new Uint8Array(Int32Array.from(fact.i32s).buffer));
  }
  let offset = 0;
  for (const tensor of tensors) {
    head.text(tensor.name).u32(tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) head.u64(size);
    head.u32(GGUF_TYPES[tensor.type ?? "f32"].code).u64(offset);
    offset += aligned(bytesOf(tensor));
  }
  writeDraft(files, path, (draft) => {
    draft.write(head.padded());
    for (const tensor of tensors) {
      const bytes = new Uint8Array(aligned(bytesOf(tensor)));
      bytes.set(encodeBlocks(tensor.type ?? "f32", Float32Array.from(tensor.values())));
      draft.write(bytes);
    }
  });
}
