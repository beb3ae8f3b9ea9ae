/**
 * Builds one ONNX graph: values carry their element type, nodes and initializers get the path of
 * the module they belong to as their name, constants are shared.
 */
import type { AttributeValue, DataType, Dim, GraphProto, NodeProto, ValueInfo } from "../proto.ts";
import { dataTypes } from "../proto.ts";
import type { Checkpoint } from "../../../weights/checkpoint.ts";
import { elements } from "../../../gpu/tensor.ts";
import { type Initializer, inlineInitializer, narrowType, storedInitializer } from "./weights.ts";
import { ExportError } from "../errors.ts";

/** An edge of the graph. */
export interface Value {
  readonly name: string;
  readonly dtype: DataType;
}

/** Attributes in plain JavaScript: integers, lists of integers, strings; floats are marked. */
export type Attributes = Record<string, number | readonly number[] | string | { float: number }>;

/** `f32` computes in float32; `f16` runs matrix products and convolutions in float16. */
export type ComputeType = "f32" | "f16";

export class GraphBuilder {
  readonly initializers: Initializer[] = [];
  readonly #nodes: NodeProto[] = [];
  readonly #inputs: ValueInfo[] = [];
  readonly #outputs: ValueInfo[] = [];
  readonly #scope: string[] = [];
  readonly #names = new Set<string>();
  readonly #constants = new Map<string, Value>();
  readonly #weights = new Map<string, Value>();
  readonly #used = new Set<string>();

  constructor(
    readonly name: string,
    readonly checkpoint: Checkpoint,
    readonly compute: ComputeType,
  ) {}

  /** Names everything that `build` adds below `path`. */
  within<T>(path: string, build: () => T): T {
    this.#scope.push(path);
    try {
      return build();
    } finally {
      this.#scope.pop();
    }
  }

  input(name: string, dtype: DataType, dims: readonly Dim[]): Value {
    this.#inputs.push({ name, dtype, dims });
    this.#names.add(name);
    return { name, dtype };
  }

  /** Makes `value` an output of the graph under `name`. */
  output(name: string, value: Value, dims: readonly Dim[]): void {
    this.#addNode("Identity", [value], [name], {});
    this.#names.add(name);
    this.#outputs.push({ name, dtype: value.dtype, dims });
  }

  /** One node with one output, whose type is the first input's unless given. */
  op(
    opType: string,
    inputs: readonly (Value | undefined)[],
    attributes: Attributes = {},
    dtype?: DataType,
  ): Value {
    const name = this.#unique(`/${[...this.#scope, opType].join("/")}`);
    const output = `${name}_output_0`;
    this.#addNode(opType, inputs, [output], attributes, name);
    return { name: output, dtype: dtype ?? inputs[0]!.dtype };
  }

  /**
   * `value` cut along `axis` into `count` pieces of `size`. By Slice, since Split into nine writes
   * more buffers than a shader may bind where the limit is WebGPU's minimum of eight.
   */
  chunks(value: Value, axis: number, count: number, size: number): Value[] {
    return Array.from({ length: count }, (_, i) =>
      this.op("Slice", [
        value,
        this.ints([i * size]),
        this.ints([(i + 1) * size]),
        this.ints([axis]),
      ]));
  }

  cast(value: Value, dtype: DataType): Value {
    if (value.dtype === dtype) return value;
    return this.op("Cast", [value], { to: dataTypes[dtype] }, dtype);
  }

  /** A one-dimensional int64 constant. */
  ints(values: readonly number[]): Value {
    return this.#constant("i64", [values.length], BigInt64Array.from(values, BigInt));
  }

  /** An int64 scalar. */
  int(value: number): Value {
    return this.#constant("i64", [], BigInt64Array.of(BigInt(value)));
  }

  /** A float scalar, or a float tensor of the given dimensions. */
  floats(values: number | ArrayLike<number>, dims: readonly number[] = []): Value {
    const data = typeof values === "number" ? Float32Array.of(values) : Float32Array.from(values);
    return this.#constant("f32", dims, data);
  }

  /** Whether the checkpoint holds a tensor. */
  has(key: string): boolean {
    return this.checkpoint.tensors.has(key);
  }

  /**
   * A tensor of the checkpoint in its narrow type, without a cast.
   * @param shape what the config implies; checked
   * @param dims the same elements under other dimensions
   * @param wanted type in the file, where it is not the narrowest
   */
  stored(
    key: string,
    shape: readonly number[],
    options: { dims?: readonly number[]; transposed?: boolean; wanted?: "f16" | "f32" } = {},
  ): Value {
    const entry = this.checkpoint.tensors.get(key);
    if (!entry) throw new ExportError(`The checkpoint has no tensor ${key}`);
    if (`${entry.shape}` !== `${shape}`) {
      throw new ExportError(`${key} is [${entry.shape}], the config implies [${shape}]`);
    }
    const dims = options.transposed ? [...shape].reverse() : options.dims ?? shape;
    if (elements(dims) !== elements(shape)) {
      throw new ExportError(`${key}: [${shape}] cannot be read as [${dims}]`);
    }
    this.#used.add(key);
    const narrow = narrowType(entry, key);
    const dtype = options.wanted ?? narrow;
    const name = `${key}${options.transposed ? ".transposed" : ""}${dtype === "f16" ? "_f16" : ""}`;
    const known = this.#weights.get(`${name} ${dims}`);
    if (known) return known;
    const unique = this.#unique(name);
    const transposed = options.transposed ?? false;
    this.initializers.push(
      storedInitializer(this.checkpoint, key, unique, dtype, dims, transposed),
    );
    const value: Value = { name: unique, dtype };
    this.#weights.set(`${name} ${dims}`, value);
    return value;
  }

  /** A bias, a norm's weight or the like: small, stored as float32. */
  vector(key: string, shape: readonly number[], dims?: readonly number[]): Value {
    return this.stored(key, shape, { wanted: "f32", ...(dims ? { dims } : {}) });
  }

  /**
   * The factor of a matrix product or a convolution, in the type that `compute` wants: a float16
   * file is widened by a Cast in the graph, so that the file stays narrow.
   */
  factor(
    key: string,
    shape: readonly number[],
    options: { transposed?: boolean; compute?: ComputeType } = {},
  ): Value {
    const compute = options.compute ?? this.compute;
    const transposed = options.transposed ?? false;
    const value = this.stored(
      key,
      shape,
      compute === "f16" ? { transposed, wanted: "f16" } : { transposed },
    );
    return this.cast(value, compute);
  }

  /** Keys of the checkpoint that no call asked for. */
  unused(): string[] {
    return [...this.checkpoint.tensors.keys()].filter((key) => !this.#used.has(key));
  }

  graph(): GraphProto {
    return {
      name: this.name,
      nodes: this.#nodes,
      inputs: this.#inputs,
      outputs: this.#outputs,
    };
  }

  #addNode(
    opType: string,
    inputs: readonly (Value | undefined)[],
    outputs: readonly string[],
    attributes: Attributes,
    name = this.#unique(`/${[...this.#scope, opType].join("/")}`),
  ): void {
    this.#nodes.push({
      opType,
      name,
      inputs: inputs.map((input) => input?.name ?? ""),
      outputs,
      attributes: Object.fromEntries(
        Object.entries(attributes).map(([key, value]) => [key, attribute(value)]),
      ),
    });
  }

  #constant(
    dtype: DataType,
    dims: readonly number[],
    data: Float32Array | BigInt64Array,
  ): Value {
    const key = `${dtype} [${dims}] ${data.join(",")}`;
    const known = this.#constants.get(key);
    if (known) return known;
    const value: Value = { name: this.#unique(`constant_${this.#constants.size}`), dtype };
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.initializers.push(inlineInitializer(value.name, dtype, dims, bytes));
    this.#constants.set(key, value);
    return value;
  }

  #unique(name: string): string {
    let unique = name;
    for (let i = 1; this.#names.has(unique); i++) unique = `${name}_${i}`;
    this.#names.add(unique);
    return unique;
  }
}

function attribute(value: Attributes[string]): AttributeValue {
  if (typeof value === "number") return { int: value };
  if (typeof value === "string") return { string: value };
  if ("float" in value) return value;
  return { ints: value };
}
