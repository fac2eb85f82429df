/** Where the files of a zip archive lie whose contents are not compressed, as torch.save writes it; large archives (zip64) too. */
import type { InputError } from "../../ir/errors.ts";
import type { Files } from "../files.ts";

export interface Entry {
  readonly offset: number;
  readonly bytes: number;
}

const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const LARGEST_DIRECTORY = 1 << 26;

/** Names to places. `bad` makes the error for what is no such archive. */
export function readZip(files: Files, file: string, size: number, bad: (what: string) => InputError): Map<string, Entry> {
  const tail = Math.min(size, 65557);
  const end = files.read(file, size - tail, tail);
  const view = new DataView(end.buffer, end.byteOffset, end.byteLength);
  let at = tail - 22;
  while (at >= 0 && view.getUint32(at, true) !== END) at--;
  if (at < 0) throw bad("the archive has no end: was the download cut off?");
  let count = view.getUint16(at + 10, true);
  let length = view.getUint32(at + 12, true);
  let start = view.getUint32(at + 16, true);
  if (at >= 20 && view.getUint32(at - 20, true) === LOCATOR64) {
    const where = Number(view.getBigUint64(at - 12, true));
    if (where + 56 > size) throw bad("its directory lies beyond its end");
    const head = files.read(file, where, 56);
    const large = new DataView(head.buffer, head.byteOffset, 56);
    if (large.getUint32(0, true) !== END64) throw bad("its directory is not where it is said to be");
    count = Number(large.getBigUint64(32, true));
    length = Number(large.getBigUint64(40, true));
    start = Number(large.getBigUint64(48, true));
  }
  if (length > LARGEST_DIRECTORY || start + length > size) throw bad("its directory lies beyond its end");
  const bytes = files.read(file, start, length);
  const directory = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries = new Map<string, Entry>();
  let p = 0;
  for (let i = 0; i < count; i++) {
    if (p + 46 > length || directory.getUint32(p, true) !== CENTRAL) throw bad("its directory is not sound");
    const method = directory.getUint16(p + 10, true);
    let packed = directory.getUint32(p + 20, true);
    let whole = directory.getUint32(p + 24, true);
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((o) => directory.getUint16(p + o, true));
    let local = directory.getUint32(p + 42, true);
    if (p + 46 + nameLength + extraLength + commentLength > length) throw bad("its directory is not sound");
    const name = new TextDecoder().decode(bytes.subarray(p + 46, p + 46 + nameLength));
    // large numbers stand in an extra field, in this order
    for (let e = p + 46 + nameLength; e + 4 <= p + 46 + nameLength + extraLength; e += 4 + directory.getUint16(e + 2, true)) {
      if (directory.getUint16(e, true) !== 1) continue;
      let field = e + 4;
      const next = () => {
        if (field + 8 > length) throw bad("its directory is not sound");
        field += 8;
        return Number(directory.getBigUint64(field - 8, true));
      };
      if (whole === 0xffffffff) whole = next();
      if (packed === 0xffffffff) packed = next();
      if (local === 0xffffffff) local = next();
    }
    if (method !== 0 || packed !== whole) throw bad(`\`${name}\` is compressed in it, which torch.save never does`);
    if (local + 30 > size) throw bad(`\`${name}\` lies beyond its end`);
    const head = files.read(file, local, 30);
    const own = new DataView(head.buffer, head.byteOffset, 30);
    if (own.getUint32(0, true) !== LOCAL) throw bad(`\`${name}\` is not where it is said to be`);
    const offset = local + 30 + own.getUint16(26, true) + own.getUint16(28, true);
    if (offset + whole > size) throw bad(`\`${name}\` lies beyond its end`);
    entries.set(name, { offset, bytes: whole });
    p += 46 + nameLength + extraLength + commentLength;
  }
  return entries;
}
