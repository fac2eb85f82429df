/** Brings weights to device buffers a piece at a time, through a few pieces of host memory. */

import type { Placed } from "../../ground/program.ts";
import type { HalfFormat, Weights } from "../../ground/weights.ts";
import { inPieces, PIECE } from "../weights.ts";
import { bytesOf, type Piece, part, upload } from "./staging.ts";

export class Mover {
  /** `piecesOf`: the ranges of buffers that hold a tensor. */
  constructor(
    private readonly device: GPUDevice,
    private readonly piecesOf: (placed: Placed) => Piece[],
  ) {}

  /** Copies a tensor into another, from a byte on. */
  copy(from: Placed, to: Placed, at: number): void {
    const encoder = this.device.createCommandEncoder({ label: "load" });
    const target = part(this.piecesOf(to), at, from.bytes);
    for (const source of this.piecesOf(from))
      for (const p of part(target, source.at, source.bytes))
        encoder.copyBufferToBuffer(source.buffer, source.offset + p.at, p.buffer, p.offset, p.bytes);
    this.device.queue.submit([encoder.finish()]);
  }

  /** Weights from the `at`-th on, a piece at a time through memory of the host. */
  feed(to: Placed, weights: Weights, at: number): Promise<void> {
    return this.inSlots(to, to.bytes / 4, 4, async (i, count, slot) => {
      const values = new Float32Array(slot, 0, count);
      await weights.fill(values, at + i);
      return bytesOf(values);
    });
  }
  feedWords(to: Placed, weights: Weights, format: HalfFormat): Promise<void> {
    return this.inSlots(to, weights.length, 2, async (i, count, slot) => {
      const words = new Uint16Array(slot, 0, count + (count % 2));
      words[words.length - 1] = 0;
      await weights.fillWords(words.subarray(0, count), i, format);
      return new Uint8Array(slot, 0, words.byteLength);
    });
  }
  private inSlots(
    to: Placed,
    length: number,
    width: number,
    fill: (at: number, count: number, slot: ArrayBuffer) => Promise<Uint8Array>,
  ): Promise<void> {
    const slots: ArrayBuffer[] = [];
    const places = this.piecesOf(to);
    return inPieces(length, async (at, count, number) => {
      slots[number] ??= new ArrayBuffer(4 * Math.min(length + 1, PIECE));
      const bytes = await fill(at, count, slots[number]);
      await upload(this.device, part(places, at * width, bytes.length), bytes);
    });
  }
}
