/**
 * Tensors of files that `torch.save` wrote: a zip archive with a pickle and the bytes of each storage, or, before version 1.6, pickles with the bytes behind them. The
 * pickle is run by a machine that builds tensors and nothing else; values are read from the file when they are asked for.
 */
import { InputError } from "../../ir/errors.ts";
import { type Files, fileFailure } from "../files.ts";
import { bitsOf } from "../safetensors/dtype.ts";
import type { TensorInfo } from "../safetensors/header.ts";
import { TensorStore } from "../safetensors/read.ts";
import { Global, type Pickled, Reference, runPickle } from "./machine.ts";
import { readZip } from "./zip.ts";

/** The longest pickle, of tens of thousands of tensors. */
const LONGEST = 1 << 26;

const STORAGES: Readonly<Record<string, string>> = {
  DoubleStorage: "F64",
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
};
const DTYPES: Readonly<Record<string, string>> = {
  "torch.float64": "F64",
  "torch.float32": "F32",
  "torch.float16": "F16",
  "torch.bfloat16": "BF16",
  "torch.float8_e4m3fn": "F8_E4M3",
  "torch.float8_e5m2": "F8_E5M2",
  "torch.int64": "I64",
  "torch.int32": "I32",
  "torch.int16": "I16",
  "torch.int8": "I8",
  "torch.uint8": "U8",
  "torch.bool": "BOOL",
};
/** Keys under which trainers keep the weights beside other things. */
const WITHIN = ["state_dict", "model_state_dict", "module", "model"];
const MAGIC = 0x1950a86a20f9469cfc6cn;

interface Made {
  readonly dtype: string;
  readonly key: string;
  readonly start: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}
class Tensor implements Made {
  readonly dtype;
  readonly key;
  readonly start;
  readonly shape;
  readonly strides;
  constructor(made: Made) {
    this.dtype = made.dtype;
    this.key = made.key;
    this.start = made.start;
    this.shape = made.shape;
    this.strides = made.strides;
  }
}

/** Where a storage's bytes lie. */
interface Place {
  readonly offset: number;
  readonly bytes: number;
}

/** P0669: not a file of weights, or one that asks for more than tensors. P0680, P0683 as in `readBytes`. */
export function openTorch(files: Files, file: string): TensorStore {
  const stat = files.stat(file);
  if (stat === undefined) throw fileFailure(file, "ENOENT", "");
  if (stat.kind === "folder") throw fileFailure(file, "EISDIR", "");
  const bad = (what: string) =>
    new InputError("P0669", `\`${file}\` is no file of weights that is read safely: ${what}`, ["save it as safetensors"]);
  const start = files.read(file, 0, Math.min(4, stat.size));
  const { value, places } =
    start[0] === 0x50 && start[1] === 0x4b ? zipped(files, file, stat.size, bad) : bare(files, file, stat.size, bad);
  const tensors = new Map<string, TensorInfo>();
  const strided = new Map<string, { shape: readonly number[]; values(): Float32Array }>();
  for (const [name, tensor] of weightsIn(value, bad)) {
    const place = places.get(tensor.key);
    if (place === undefined) throw bad(`tensor \`${name}\` has no bytes`);
    const width = bitsOf(tensor.dtype)! / 8;
    const count = tensor.shape.reduce((a, b) => a * b, 1);
    const last = count === 0 ? -1 : tensor.shape.reduce((sum, size, i) => sum + (size - 1) * tensor.strides[i], 0);
    if ((tensor.start + last + 1) * width > place.bytes) throw bad(`tensor \`${name}\` reaches beyond its bytes`);
    const offset = place.offset + tensor.start * width;
    if (isDense(tensor)) tensors.set(name, { name, dtype: tensor.dtype, shape: tensor.shape, file, offset, bytes: count * width });
    else {
      const whole = `${name} (as it lies)`;
      const lies = new TensorStore(
        files,
        new Map([[whole, { name: whole, dtype: tensor.dtype, shape: [last + 1], file, offset, bytes: (last + 1) * width }]]),
        {},
      );
      strided.set(name, { shape: tensor.shape, values: () => gathered(tensor, count, lies.read(whole)) });
    }
  }
  return new TensorStore(files, tensors, {}).withMade(new Set(), strided);
}

function isDense({ shape, strides }: Made): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return shape.includes(0);
    step *= shape[i];
  }
  return true;
}

function gathered({ shape, strides }: Made, count: number, values: ArrayLike<number>): Float32Array {
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let rest = i;
    let at = 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += (rest % shape[axis]) * strides[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    out[i] = values[at];
  }
  return out;
}

type Bad = (what: string) => InputError;
interface Opened {
  readonly value: Pickled;
  readonly places: ReadonlyMap<string, Place>;
}

function zipped(files: Files, file: string, size: number, bad: Bad): Opened {
  const entries = readZip(files, file, size, bad);
  const pickle = [...entries.keys()].find((name) => name === "data.pkl" || name.endsWith("/data.pkl"));
  if (pickle === undefined) throw bad("the archive has no data.pkl");
  const folder = pickle.slice(0, -"data.pkl".length);
  const order = entries.get(`${folder}byteorder`);
  if (order !== undefined && new TextDecoder().decode(files.read(file, order.offset, Math.min(order.bytes, 16))).trim() !== "little")
    throw bad("its numbers lie with the highest byte first");
  const { offset, bytes } = entries.get(pickle)!;
  if (bytes > LONGEST) throw bad(`its pickle has ${bytes} bytes`);
  const { value } = runPickle(file, files.read(file, offset, bytes), 0, rebuild(bad));
  const places = new Map(
    [...entries].flatMap(([name, place]) => (name.startsWith(`${folder}data/`) ? [[name.slice(folder.length + 5), place] as const] : [])),
  );
  return { value, places };
}

/** Versions before 1.6: a number, the protocol, facts of the machine, the value, the keys of its storages, then each with its length. */
function bare(files: Files, file: string, size: number, bad: Bad): Opened {
  const bytes = files.read(file, 0, Math.min(size, LONGEST));
  const seen = new Map<string, string>();
  const call = rebuild(bad, seen);
  const magic = runPickle(file, bytes, 0, call);
  if (magic.value !== MAGIC) throw bad("it does not begin as torch.save's files do");
  const protocol = runPickle(file, bytes, magic.end, call);
  const machine = runPickle(file, bytes, protocol.end, call);
  if (machine.value instanceof Map && machine.value.get("little_endian") === false)
    throw bad("its numbers lie with the highest byte first");
  const { value, end } = runPickle(file, bytes, machine.end, call);
  const keys = runPickle(file, bytes, end, call);
  if (!Array.isArray(keys.value)) throw bad("it has no list of storages");
  const places = new Map<string, Place>();
  let at = keys.end;
  for (const key of keys.value) {
    const dtype = seen.get(String(key));
    if (dtype === undefined || at + 8 > size) throw bad(`it ends before the storage ${String(key)}`);
    const head = files.read(file, at, 8);
    const count = Number(new DataView(head.buffer, head.byteOffset, 8).getBigInt64(0, true));
    const length = (count * bitsOf(dtype)!) / 8;
    if (!(count >= 0) || at + 8 + length > size) throw bad(`it ends in the storage ${String(key)}`);
    places.set(String(key), { offset: at + 8, bytes: length });
    at += 8 + length;
  }
  return { value, places };
}

/** The functions that build tensors out of storages. `seen`: types of the storages, by key. */
const rebuild =
  (bad: Bad, seen = new Map<string, string>()) =>
  (name: string, args: readonly Pickled[]): Pickled | undefined => {
    const sizes = (value: Pickled, what: string): number[] => {
      if (!Array.isArray(value) || !value.every((n) => Number.isSafeInteger(n) && (n as number) >= 0))
        throw bad(`a tensor has an impossible ${what}`);
      return value as number[];
    };
    switch (name) {
      case "collections.OrderedDict": {
        const pairs = Array.isArray(args[0]) ? args[0] : [];
        if (!pairs.every(Array.isArray)) throw bad("a dictionary is made of what is no pair");
        return new Map(pairs.map((pair) => [(pair as Pickled[])[0], (pair as Pickled[])[1]]));
      }
      case "torch._utils._rebuild_parameter":
        return args[0] instanceof Tensor ? args[0] : undefined;
      case "torch._utils._rebuild_tensor":
      case "torch._utils._rebuild_tensor_v2":
      case "torch._utils._rebuild_tensor_v3": {
        const [storage, start, shape, strides] = args;
        const id = storage instanceof Reference ? storage.id : undefined;
        if (!Array.isArray(id) || id[0] !== "storage" || !(id[1] instanceof Global)) throw bad("a tensor has no storage");
        if (Array.isArray(id[5])) throw bad("a storage is a part of another, which is not read");
        const type = id[1].name.replace(/^torch\./, "");
        const typed = name.endsWith("_v3") && args[6] instanceof Global ? DTYPES[(args[6] as Global).name] : STORAGES[type];
        if (typed === undefined)
          throw bad(`its tensors are of the type ${args[6] instanceof Global ? args[6].name : type}, which is not read`);
        const key = String(id[2]);
        seen.set(key, typed);
        const made = {
          dtype: typed,
          key,
          start: sizes([start], "place")[0],
          shape: sizes(shape, "shape"),
          strides: sizes(strides, "stride"),
        };
        if (made.shape.length !== made.strides.length) throw bad("a tensor has a stride for another number of axes");
        return new Tensor(made);
      }
      default:
        return undefined;
    }
  };

/** Names and tensors of a dictionary of weights, or of one that a trainer keeps under one of its usual keys. */
function weightsIn(value: Pickled, bad: Bad): [string, Tensor][] {
  if (!(value instanceof Map)) throw bad("it holds no dictionary");
  const own = [...value].flatMap(([key, item]): [string, Tensor][] =>
    typeof key === "string" && item instanceof Tensor ? [[key, item]] : [],
  );
  const inner = own.length > 0 ? undefined : WITHIN.map((key) => value.get(key)).find((item) => item instanceof Map);
  if (inner !== undefined) return weightsIn(inner, bad);
  if (own.length === 0) throw bad("it holds no tensors");
  return own;
}
