/**
 * A built program as a folder that `peftc/runtime` runs without the compiler:
 *
 *     program.json, module.wasm, module.wat     for WebAssembly
 *     webgpu/program.json, webgpu/*.wgsl        for WebGPU: the text of each kernel in a file of its own
 *     values.json, values.bin                   first values of parameters and states: where each lies, and the numbers (little-endian)
 *     index.mjs, index.d.ts                     one function an entry point, with the names and shapes of its inputs and outputs
 */
import { type Files, joinPath, writeDraft, writeFile } from "../../formats/files.ts";
import type { Entry, Program, StorageType, Values } from "../../ground/program.ts";
import { printable } from "../../ir/printable.ts";
import type { Built } from "./engine.ts";
import { ofCaller, runsBackwards, streamCall, streamText } from "./package-streams.ts";

interface PackageContents {
  readonly wasm: Built;
  readonly webgpu: Built;
  /** For the comment on top. */
  readonly title: string;
  readonly version: string;
  /** By how much streams that are rebuilt in f32 may be off. */
  readonly most?: number;
  readonly param: (name: string) => Values;
  readonly state: (name: string) => Values;
}

/** Gives the names of the files written. */
export function writePackage(files: Files, folder: string, contents: PackageContents): string[] {
  const written: string[] = [];
  const put = (name: string, content: string | Uint8Array) => {
    writeFile(files, joinPath(folder, name), typeof content === "string" ? new TextEncoder().encode(content) : content);
    written.push(name);
  };
  const { wasm, webgpu } = contents;
  const { wat, ...program } = wasm.program;
  put("program.json", `${JSON.stringify(program, null, 1)}\n`);
  if (wasm.module !== undefined) put("module.wasm", wasm.module);
  if (wat !== undefined) put("module.wat", wat);
  const kernels = webgpu.program.kernels.map((kernel) => ({ ...kernel, code: `${fileName(kernel.name)}.wgsl` }));
  put("webgpu/program.json", `${JSON.stringify({ ...webgpu.program, kernels }, null, 1)}\n`);
  for (const [i, kernel] of webgpu.program.kernels.entries()) put(`webgpu/${kernels[i].code}`, kernel.code);
  written.push(...writeValues(files, folder, contents));
  put("index.mjs", moduleText(contents));
  put("index.d.ts", typesText(contents));
  return written;
}

const fileName = (kernel: string): string => kernel.replace(/[^A-Za-z0-9_.-]/g, "_");

interface ValuePlace {
  readonly kind: "param" | "state";
  readonly name: string;
  readonly dtype: StorageType;
  readonly offset: number;
  readonly length: number;
}

function writeValues(files: Files, folder: string, { wasm: { program }, param, state }: PackageContents): string[] {
  const places: ValuePlace[] = [];
  let offset = 0;
  writeDraft(files, joinPath(folder, "values.bin"), (draft) => {
    for (const kind of ["param", "state"] as const) {
      for (const [name, index] of Object.entries(program[`${kind}s`])) {
        const values = kind === "param" ? param(name) : state(name);
        places.push({
          kind,
          name,
          dtype: values instanceof Float32Array ? "f32" : program.tensors[index].dtype,
          offset,
          length: values.length,
        });
        draft.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
        offset += values.byteLength;
      }
    }
  });
  writeFile(files, joinPath(folder, "values.json"), new TextEncoder().encode(`${JSON.stringify(places, null, 1)}\n`));
  return ["values.bin", "values.json"];
}

/** What callers run; entries that compute once from frozen weights are run by the session itself. */
const called = ({ entries, loads = [] }: Program): Entry[] => entries.filter(({ name }) => !loads.some((load) => load.entry === name));

/** A JavaScript name for an entry: letters, digits, underscores. */
const methodName = (entry: string): string => entry.replace(/\W/g, "_");

function moduleText({ wasm: { program }, title, version, most = 0 }: PackageContents): string {
  const call = (e: Entry): string =>
    runsBackwards(e) ? streamCall(e) : `(inputs, outputs) => session.run(${JSON.stringify(e.name)}, inputs, outputs)`;
  const methods = called(program)
    .map((e) => `    ${methodName(e.name)}: ${call(e)},`)
    .join("\n");
  const streams = called(program).some(runsBackwards) ? streamText(most) : "";
  return `// ${printable(title)}, built by peftc ${version}. Needs only peftc/runtime.
import { openDevice, openWasm, openWebGPU } from "peftc/runtime";

const text = (bytes) => new TextDecoder().decode(bytes);

/** Reads a file of this folder. */
async function fetched(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(\`\${name}: \${response.status} \${response.statusText}\`);
  return new Uint8Array(await response.arrayBuffer());
}
${streams}
/** Opens the program on a device and writes the first values. See index.d.ts. */
export async function open({ device = "wasm", read = fetched, gpu = globalThis.navigator?.gpu, workers = 1, startThread } = {}) {
  let session;
  if (device === "webgpu") {
    const program = JSON.parse(text(await read("webgpu/program.json")));
    const kernels = await Promise.all(program.kernels.map(async (k) => ({ ...k, code: text(await read(\`webgpu/\${k.code}\`)) })));
    session = await openWebGPU({ ...program, kernels }, await openDevice(gpu));
  } else {
    session = await openWasm(JSON.parse(text(await read("program.json"))), await read("module.wasm"), { workers, startThread });
  }
  const values = (await read("values.bin")).slice().buffer;
  for (const { kind, name, dtype, offset, length } of JSON.parse(text(await read("values.json")))) {
    const Numbers = dtype === "f32" ? Float32Array : Int32Array;
    await session.write(kind, name, new Numbers(values, offset, length));
  }
  return {
${methods}
    read: (kind, name) => session.read(kind, name),
    write: (kind, name, data) => session.write(kind, name, data),
    close: () => session.close(),
    session,
  };
}
`;
}

function typesText({ wasm: { program }, title, version }: PackageContents): string {
  const array = (dtype: StorageType) => (dtype === "f32" ? "Float32Array" : "Int32Array");
  const typed = (entry: Entry, kind: "inputs" | "outputs"): string => {
    const fields = ofCaller(entry[kind]).map((name) => {
      const { dtype, shape } = program.tensors[program[kind][`${entry.name}/${name}`]];
      const type = shape.length === 0 && kind === "inputs" ? "number" : array(dtype);
      return `  /** ${dtype}[${shape.join(", ")}] */\n  ${JSON.stringify(name)}: ${type};`;
    });
    if (kind === "inputs") {
      const given = new Set(entry.inputs);
      for (const name of numbersOf(entry)) if (!given.has(name)) fields.push(`  /** number */\n  ${JSON.stringify(name)}: number;`);
    }
    return `{\n${fields.join("\n")}\n}`;
  };
  const name = (entry: Entry) => methodName(entry.name).replace(/(^|_)([a-z])/g, (_, __, c: string) => c.toUpperCase());
  const entries = called(program).map(
    (e) => `export interface ${name(e)}Inputs ${typed(e, "inputs")}\nexport interface ${name(e)}Outputs ${typed(e, "outputs")}\n`,
  );
  const methods = called(program).map(
    (e) => `  ${methodName(e.name)}(inputs: ${name(e)}Inputs, outputs?: readonly (keyof ${name(e)}Outputs)[]): Promise<${name(e)}Outputs>;`,
  );
  const union = (names: string[]) => (names.length === 0 ? "never" : names.map((n) => JSON.stringify(n)).join(" | "));
  return `// ${printable(title)}, built by peftc ${version}.
import type { Session, StartThread } from "peftc/runtime";

${entries.join("\n")}
/** Parameters, and states (an optimizer's, caches), by name. */
type ParameterName = ${union(Object.keys(program.params))};
type StateName = ${union(Object.keys(program.states))};

export interface Opened {
${methods.join("\n")}
  read(kind: "param", name: ParameterName): Promise<Float32Array>;
  read(kind: "state", name: StateName): Promise<Float32Array | Int32Array>;
  write(kind: "param", name: ParameterName, data: Float32Array): Promise<void>;
  write(kind: "state", name: StateName, data: Float32Array | Int32Array): Promise<void>;
  close(): Promise<void>;
  readonly session: Session;
}

interface OpenOptions {
  /** \`wasm\`, unless told. */
  readonly device?: "wasm" | "webgpu";
  /** Reads a file of this folder; by default it is fetched from beside this module, which needs a server. */
  readonly read?: (name: string) => Promise<Uint8Array>;
  /** A page's \`navigator.gpu\`, unless told. */
  readonly gpu?: GPU;
  /** Threads for WebAssembly (needs \`startThread\`); 1 computes on the caller's. */
  readonly workers?: number;
  readonly startThread?: StartThread;
}

export function open(options?: OpenOptions): Promise<Opened>;
`;
}

/** Numbers that the host's scalars are computed from: \`step\`, \`steps\`. */
function numbersOf(entry: Entry): string[] {
  const names = new Set<string>();
  const made = new Set(entry.scalars.map((s) => s.name));
  for (const { code } of entry.scalars) {
    for (const operation of code)
      for (const argument of operation) if (typeof argument === "string" && argument.startsWith("@")) names.add(argument.slice(1));
  }
  return [...names].filter((name) => !made.has(name));
}
