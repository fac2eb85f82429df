/** Files as torch.save writes them, laid out by hand: an archive (from version 1.6 on), or pickles one behind the other. */

export interface Stored {
  readonly shape: readonly number[];
  readonly strides?: readonly number[];
  readonly storage: string;
  readonly data: Uint8Array;
  /** First element in the storage. */
  readonly start?: number;
  /** Elements of the storage. */
  readonly count: number;
}

const text = (s: string) => [...new TextEncoder().encode(s)];
const le = (n: number, bytes: number) => Array.from({ length: bytes }, (_, i) => Math.floor(n / 256 ** i) & 255);
const unicode = (s: string) => [0x58, ...le(text(s).length, 4), ...text(s)];
const global = (module: string, name: string) => [0x63, ...text(`${module}\n${name}\n`)];
const int = (n: number) => [0x4a, ...le(n, 4)];
const tuple = (items: readonly (readonly number[])[]) => [0x28, ...items.flat(), 0x74];

/** The pickle of an OrderedDict of tensors; `legacy` ids have a sixth part. `extra` is put in as the value of a last key. */
export function pickled(tensors: Readonly<Record<string, Stored>>, legacy = false, extra?: readonly number[]): number[] {
  const entries = Object.entries(tensors).map(([name, t], i) => {
    const strides = t.strides ?? t.shape.map((_, axis) => t.shape.slice(axis + 1).reduce((a, b) => a * b, 1));
    const id = tuple([
      unicode("storage"),
      global("torch", t.storage),
      unicode(String(i)),
      unicode("cpu"),
      int(t.count),
      ...(legacy ? [[0x4e]] : []),
    ]);
    const empty = [...global("collections", "OrderedDict"), 0x29, 0x52];
    const args = tuple([[...id, 0x51], int(t.start ?? 0), tuple(t.shape.map(int)), tuple(strides.map(int)), [0x89], empty]);
    return [...unicode(name), ...global("torch._utils", "_rebuild_tensor_v2"), ...args, 0x52];
  });
  if (extra !== undefined) entries.push([...unicode("extra"), ...extra]);
  return [0x80, 2, ...global("collections", "OrderedDict"), 0x29, 0x52, 0x28, ...entries.flat(), 0x75, 0x7d, 0x62, 0x2e];
}

export function torchZip(tensors: Readonly<Record<string, Stored>>, pickle = pickled(tensors)): Uint8Array {
  const files: [string, Uint8Array][] = [
    ["archive/data.pkl", Uint8Array.from(pickle)],
    ["archive/byteorder", Uint8Array.from(text("little"))],
    ...Object.values(tensors).map((t, i): [string, Uint8Array] => [`archive/data/${i}`, t.data]),
  ];
  const out: number[] = [];
  const directory: number[] = [];
  for (const [name, data] of files) {
    const at = out.length;
    const common = [
      ...le(0, 2),
      ...le(0, 2),
      ...le(0, 4),
      ...le(0, 4),
      ...le(data.length, 4),
      ...le(data.length, 4),
      ...le(text(name).length, 2),
    ];
    out.push(...le(0x04034b50, 4), ...le(0, 2), ...common, ...le(5, 2), ...text(name), ...[0, 0, 1, 0, 0], ...data);
    directory.push(
      ...le(0x02014b50, 4),
      ...le(0, 2),
      ...le(0, 2),
      ...common,
      ...le(0, 2),
      ...le(0, 2),
      ...le(0, 8),
      ...le(at, 4),
      ...text(name),
    );
  }
  const start = out.length;
  return Uint8Array.from([
    ...out,
    ...directory,
    ...le(0x06054b50, 4),
    ...le(0, 4),
    ...le(files.length, 2),
    ...le(files.length, 2),
    ...le(directory.length, 4),
    ...le(start, 4),
    0,
    0,
  ]);
}

export function torchLegacy(tensors: Readonly<Record<string, Stored>>): Uint8Array {
  const magic = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];
  const protocol = [0x80, 2, 0x4d, 0xe9, 0x03, 0x2e];
  const system = [0x80, 2, 0x7d, 0x28, ...unicode("little_endian"), 0x88, 0x75, 0x2e];
  const keys = [0x80, 2, 0x5d, 0x28, ...Object.keys(tensors).flatMap((_, i) => unicode(String(i))), 0x65, 0x2e];
  const storages = Object.values(tensors).flatMap((t) => [...le(t.count, 8), ...t.data]);
  return Uint8Array.from([...magic, ...protocol, ...system, ...pickled(tensors, true), ...keys, ...storages]);
}
