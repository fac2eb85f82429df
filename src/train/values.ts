/**
 * Values of parameters and states between stages, by name. A parameter's first value comes from a checkpoint tensor, a start or a copy, and is made
 * when somebody asks; what a stage trained replaces it. Tensors of checkpoints are read again each time rather than kept: a device
 * holds them while a stage runs, and one copy is enough.
 */
import type { ParamDecl, Project } from "../compiler/project.ts";
import type { Values as Data } from "../ground/program.ts";
import type { Weights } from "../ground/weights.ts";
import { bind } from "../ir/bind.ts";
import { Bug, InputError } from "../ir/errors.ts";
import type { DType, Graph } from "../ir/graph.ts";
import { interpret, resultKey, type Supplies } from "../ir/interpret.ts";
import type { Tensor } from "../ir/ops/index.ts";
import { weightsOf } from "../runtime/weights.ts";
import type { Held } from "./run/checkpoint.ts";

/** Opens a folder that parameters come from: a model's, or an adapter's. `undefined`: there is none. */
export type OpenFolder = (folder: string) => ReadsTensors | undefined;
interface ReadsTensors {
  /** All values of a tensor by its key, row-major. */
  read(key: string): Data;
  /** The same a piece at a time, where its file can be read so. */
  weights?(key: string): Weights;
  /** Whether it lies in a file as it is, and is computed from nothing. */
  inFile?(key: string): boolean;
  /** What tells its values from others without reading them: see `ValueStore.stamp`. */
  stamp?(key: string): string | undefined;
}

export class ValueStore {
  private readonly params = new Map<string, Float32Array>();
  private readonly states = new Map<string, Held>();
  private readonly folders = new Map<string, ReadsTensors>();
  /** `step` and `steps` of the last step, which everything that is computed between stages sees. */
  clock: { readonly step: number; readonly steps: number } = { step: 0, steps: 0 };
  /** Parameters being made, to show a start that needs itself. */
  private readonly making = new Set<string>();

  constructor(
    private readonly project: Pick<Project, "params" | "states">,
    private readonly open: OpenFolder,
  ) {}

  /** All values of a parameter, row-major. The array may be shared: do not change it. */
  param(name: string): Float32Array {
    const held = this.params.get(name);
    if (held !== undefined) return held;
    const { source, span } = this.declaration(name);
    if (source.kind === "number")
      throw new InputError(
        "P0828",
        "this needs a number that a whole run makes between its stages",
        ["`peftc train` runs the stages in order; `eval` and `generate` read what a finished run left, and no run left this"],
        span,
      );
    if (source.kind === "file") return this.read(name, source.folder, source.tensor);
    if (this.making.has(name)) throw new Bug(`the start of ${name} needs itself`);
    this.making.add(name);
    try {
      const value = source.kind === "copy" ? this.param(source.of) : this.start(name, source.graph);
      // a start is computed once: it may be drawn, or look at values that a later stage changes
      this.params.set(name, value);
      return value;
    } finally {
      this.making.delete(name);
    }
  }

  /** The same values for a device, which takes those of a file a piece at a time. */
  weights(name: string): Weights {
    const { source } = this.declaration(name);
    if (!this.params.has(name) && source.kind === "file") {
      const weights = this.folder(name, source.folder).weights?.(source.tensor);
      if (weights !== undefined) return weights;
    }
    return weightsOf(this.param(name));
  }

  /**
   * For values that lie in a large file: what tells that file from another one without reading it (size, time of its last change, the tensor's entry in the
   * header). `undefined`: the values themselves must be looked at.
   */
  stamp(name: string): string | undefined {
    const { source } = this.declaration(name);
    if (this.params.has(name) || source.kind !== "file") return undefined;
    return this.folder(name, source.folder).stamp?.(source.tensor);
  }

  /** Whether its values can be read from a file whenever they are wanted, as they lie there. */
  inFile(name: string): boolean {
    const { source } = this.declaration(name);
    if (this.params.has(name) || source.kind !== "file") return false;
    try {
      return this.folder(name, source.folder).inFile?.(source.tensor) === true;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      // a model whose weights are not there is only planned for; who reads them says what is missing
      return true;
    }
  }

  /** Equal as long as its value is the same: an array that holds it is never changed in place. */
  version(name: string): unknown {
    return this.params.get(name) ?? this.declaration(name).source;
  }

  /** How many numbers it has. */
  count(name: string): number {
    return elements(this.declaration(name).shape);
  }

  /** Whether a stage, a start or a copy gave it a value that no file has. */
  isHeld(name: string): boolean {
    return this.params.has(name);
  }

  setParam(name: string, values: Float32Array): void {
    const { shape } = this.declaration(name);
    if (values.length !== elements(shape)) throw new Bug(`${values.length} values for ${name} of shape [${shape.join(", ")}]`);
    this.params.set(name, values);
  }

  /** Gives `to` the value that `from` has now. */
  copy(from: string, to: string): void {
    this.setParam(to, this.param(from));
  }

  /** Gives a parameter the output `value` of a graph over parameters and states as they are now. */
  compute(name: string, graph: Graph): void {
    this.setParam(name, this.start(name, graph));
  }
  /** The outputs of a graph over parameters and states as they are now, by name. */
  outputs(graph: Graph): Map<string, Tensor> {
    const found = interpret(graph, this.supplies(new Map()));
    return new Map(graph.results.map((r) => [r.name, found.get(resultKey(r))!]));
  }

  /** A state's value: what it was left with, else its start with `sizes` for symbols. */
  state(name: string, sizes: ReadonlyMap<string, number>): Held {
    const held = this.states.get(name);
    if (held !== undefined) return held;
    const declared = this.project.states.get(name);
    if (declared === undefined) throw new Bug(`no state is called ${name}`);
    const { source, dtype } = declared;
    if (source !== undefined)
      return { dtype, shape: declared.shape.map(Number), values: narrow(dtype, this.read(name, source.folder, source.tensor)) };
    const value = this.evaluate(declared.graph, sizes);
    return { dtype: value.dtype, shape: value.shape, values: narrow(value.dtype, value.data) };
  }

  /** Whether a state is an attachment's, which outlives the stage; an optimiser's does not. */
  lasts(name: string): boolean {
    return this.project.states.get(name)?.lasts === true;
  }
  /** A state's value from a file. */
  loadState(name: string, shape: readonly number[], data: ArrayLike<number>): void {
    const { dtype } = this.project.states.get(name)!;
    this.setState(name, { dtype, shape, values: narrow(dtype, data) });
  }

  /** The values of a parameter, or of a state of an attachment. */
  either(name: string): Float32Array {
    return this.project.states.has(name) ? Float32Array.from(this.state(name, new Map()).values) : this.param(name);
  }

  setState(name: string, value: Held): void {
    this.states.set(name, value);
  }
  dropState(name: string): void {
    this.states.delete(name);
  }

  shape(name: string): readonly number[] {
    return this.declaration(name).shape;
  }

  private declaration(name: string): ParamDecl {
    const declared = this.project.params.get(name);
    if (declared === undefined) throw new Bug(`no parameter is called ${name}`);
    return declared;
  }

  private read(name: string, folder: string, tensor: string): Float32Array {
    const values = this.folder(name, folder).read(tensor);
    return values instanceof Float32Array ? values : Float32Array.from(values);
  }

  private folder(name: string, folder: string): ReadsTensors {
    let store = this.folders.get(folder);
    if (store === undefined) {
      store = this.open(folder);
      if (store === undefined) {
        throw new InputError("P0601", `the folder \`${folder}\`, which \`${name}\` is read from, is gone`, [
          "put it back, or check the file again",
        ]);
      }
      this.folders.set(folder, store);
    }
    return store;
  }

  private start(name: string, graph: Graph): Float32Array {
    const value = this.evaluate(graph, new Map());
    const { shape } = this.declaration(name);
    if (value.data.length !== elements(shape)) throw new Bug(`the start of ${name} has shape [${value.shape.join(", ")}]`);
    return Float32Array.from(value.data);
  }

  private evaluate(graph: Graph, sizes: ReadonlyMap<string, number>): Tensor {
    const bound = sizes.size === 0 ? graph : bind(graph, sizes);
    const value = interpret(bound, this.supplies(sizes)).get(resultKey({ role: "output", name: "value" }));
    if (value === undefined) throw new Bug("a start has no output `value`");
    return value;
  }

  private supplies(sizes: ReadonlyMap<string, number>): Supplies {
    const { step, steps } = this.clock;
    return {
      inputs: new Map([
        ["step", tensorOf("i32", [], [step])],
        ["steps", tensorOf("i32", [], [steps])],
      ]),
      params: { get: (name) => tensorOf("f32", this.shape(name), this.param(name)) },
      states: { get: (name) => ((s) => tensorOf(s.dtype, s.shape, s.values))(this.state(name, sizes)) },
    };
  }
}

export const elements = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

export const tensorOf = (dtype: DType, shape: readonly number[], data: ArrayLike<number>): Tensor => ({
  dtype,
  shape,
  data: Float64Array.from(data),
});

/** As devices store it: f32, or 4-byte integers. */
export const narrow = (dtype: DType, data: ArrayLike<number>): Data => (dtype === "f32" ? Float32Array.from(data) : Int32Array.from(data));

export const zeros = ({ dtype, shape }: { readonly dtype: DType; readonly shape: readonly number[] }): Held => ({
  dtype,
  shape,
  values: dtype === "f32" ? new Float32Array(elements(shape)) : new Int32Array(elements(shape)),
});
