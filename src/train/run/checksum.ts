/** CRC-32 (the one of PNG and gzip), which finds what a disk or a copy did to bytes; it is no proof against whoever means to deceive. */
import { type Files, joinPath } from "../../formats/files.ts";

const TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let c = i;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

/** The checksum of bytes, going on from that of what was in front of them. */
export function crc32(bytes: Uint8Array, before = 0): number {
  let c = ~before;
  for (let i = 0; i < bytes.length; i++) c = TABLE[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

/** Bytes read at a time. */
const PIECE = 1 << 24;

interface FileSum {
  readonly bytes: number;
  readonly crc32: number;
}

/** Of a file as it is on the disk. */
function sumOf(files: Files, path: string): FileSum {
  const size = files.stat(path)?.size ?? 0;
  let crc = 0;
  for (let at = 0; at < size; at += PIECE) crc = crc32(files.read(path, at, Math.min(PIECE, size - at)), crc);
  return { bytes: size, crc32: crc };
}

/** Of every file in a folder and below it, by path from there. */
export function sumsIn(files: Files, folder: string, below = ""): Record<string, FileSum> {
  const out: Record<string, FileSum> = {};
  for (const name of files.list(joinPath(folder, below))) {
    const path = below === "" ? name : `${below}/${name}`;
    if (files.stat(joinPath(folder, path))?.kind === "folder") Object.assign(out, sumsIn(files, folder, path));
    else out[path] = sumOf(files, joinPath(folder, path));
  }
  return out;
}
