/** Moving values between the host and device buffers, a bounded piece at a time. */

import type { Placed, Values } from "../../ground/program.ts";
import { BufferUsage, MapMode } from "./flags.ts";

/** Bytes of one transfer: what the queue or a mapped buffer holds beside the arenas. */
export const CHUNK = 4 * 1024 * 1024;
/** Transfers written before waiting for the device, so that the queue's own staging stays bounded. */
const CHUNKS_IN_FLIGHT = 4;

/** A buffer range that holds bytes of a tensor: those from `at` on. */
export interface Piece {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly at: number;
  readonly bytes: number;
}

export const bytesOf = (values: Values): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

export function valuesOf(dtype: Placed["dtype"], bytes: ArrayBuffer): Values {
  return dtype === "f32" ? new Float32Array(bytes) : new Int32Array(bytes);
}

/** What of pieces holds the bytes from `from` on, `at` counted from there. */
export function part(pieces: readonly Piece[], from: number, bytes: number): Piece[] {
  return pieces.flatMap((p) => {
    const start = Math.max(p.at, from);
    const end = Math.min(p.at + p.bytes, from + bytes);
    return end <= start ? [] : [{ buffer: p.buffer, offset: p.offset + start - p.at, at: start - from, bytes: end - start }];
  });
}

/** Cuts pieces into transfers of at most `CHUNK` bytes. */
function* chunks(pieces: readonly Piece[]): Generator<Piece> {
  for (const p of pieces)
    for (let done = 0; done < p.bytes; done += CHUNK)
      yield { buffer: p.buffer, offset: p.offset + done, at: p.at + done, bytes: Math.min(CHUNK, p.bytes - done) };
}

export async function upload(device: GPUDevice, pieces: readonly Piece[], bytes: Uint8Array): Promise<void> {
  let inFlight = 0;
  for (const p of chunks(pieces)) {
    device.queue.writeBuffer(p.buffer, p.offset, bytes.buffer as ArrayBuffer, bytes.byteOffset + p.at, p.bytes);
    if (p.bytes === CHUNK && ++inFlight % CHUNKS_IN_FLIGHT === 0) await device.queue.onSubmittedWorkDone();
  }
}

/** Buffers for reading back, used in turn: a result is read while the next run is under way. */
export class Ring {
  private readonly free: GPUBuffer[] = [];
  private readonly waiting: ((slot: GPUBuffer) => void)[] = [];
  private made = 0;

  constructor(
    private readonly device: GPUDevice,
    readonly slotBytes: number,
    private readonly slots: number,
  ) {}

  /** Bytes this ring may hold. */
  get bytes(): number {
    return this.slotBytes * this.slots;
  }

  /** A slot that nobody reads; waits for one where all are in use. */
  async take(): Promise<GPUBuffer> {
    const slot = this.free.pop();
    if (slot) return slot;
    if (this.made < this.slots) {
      this.made++;
      return this.device.createBuffer({ label: "staging", size: this.slotBytes, usage: BufferUsage.MAP_READ | BufferUsage.COPY_DST });
    }
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** Waits for the device, gives the first `bytes` of a slot, and the slot back. */
  async read(slot: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    try {
      await slot.mapAsync(MapMode.READ, 0, bytes);
      const copy = slot.getMappedRange(0, bytes).slice(0);
      slot.unmap();
      return copy;
    } finally {
      const next = this.waiting.shift();
      if (next) next(slot);
      else this.free.push(slot);
    }
  }

  destroy(): void {
    for (const slot of this.free) slot.destroy();
  }
}

/** Reads pieces into one array, a chunk after the other. */
export async function download(device: GPUDevice, ring: Ring, pieces: readonly Piece[], bytes: number): Promise<ArrayBuffer> {
  const out = new Uint8Array(bytes);
  for (const p of pieces)
    for (let done = 0; done < p.bytes; done += ring.slotBytes) {
      const size = Math.min(ring.slotBytes, p.bytes - done);
      const slot = await ring.take();
      const encoder = device.createCommandEncoder({ label: "read" });
      encoder.copyBufferToBuffer(p.buffer, p.offset + done, slot, 0, size);
      device.queue.submit([encoder.finish()]);
      out.set(new Uint8Array(await ring.read(slot, size)), p.at + done);
    }
  return out.buffer;
}
