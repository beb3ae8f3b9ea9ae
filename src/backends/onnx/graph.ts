/**
 * One ONNX graph on our device: checked against what its network must look like when it is opened,
 * run with tensors of ours, nothing read back to the host.
 */
import type { Gpu } from "../../gpu/device.ts";
import { copyTensor } from "../../gpu/program.ts";
import { elements, type Tensor } from "../../gpu/tensor.ts";
import { Casts, type FloatType } from "./cast.ts";
import { OnnxError } from "./errors.ts";
import type { OnnxFiles } from "./files.ts";
import type { ModelSummary } from "./proto.ts";
import {
  createSession,
  type OrtSession,
  OrtTensor,
  releaseSession,
  runSession,
} from "./runtime.ts";

/** An end of a graph as the network's config implies it; null stands for a free extent. */
export interface GraphEnd {
  readonly name: string;
  /** Names that other exporters give it. */
  readonly aliases?: readonly string[];
  readonly dims: readonly (number | null)[];
  readonly kind: "float" | "ids";
  /** A graph may lack it. */
  readonly optional?: boolean;
}

export interface GraphInterface {
  /** All inputs; a graph with more or fewer is refused. */
  readonly inputs: readonly GraphEnd[];
  /** Outputs that are used; a graph may have others. */
  readonly outputs: readonly GraphEnd[];
}

interface BoundEnd {
  /** As the graph spells it. */
  readonly name: string;
  readonly type: string;
}

/** How one kind of network is run as a graph. */
export interface GraphKind<Config = unknown, Component = unknown> {
  /** What its graph must look like. */
  ends(config: Config): GraphInterface;
  /** The component over a real graph, or over one that only plans its memory. */
  make(gpu: Gpu, config: Config, graph: Graph): Component;
  /** Bytes that one run takes beside its ends. */
  activations(config: Config, inputs: Readonly<Record<string, GraphInput>>): number;
}

/** Token ids come from the host, everything else lies on the GPU. */
export type GraphInput = Tensor | Int32Array;

/** What the components need of a graph: the real one, or one that only plans its memory. */
export interface Graph {
  run(
    inputs: Readonly<Record<string, GraphInput>>,
    outputs: Readonly<Record<string, Tensor>>,
  ): Promise<void>;
  /** Whether the graph has this output. */
  gives(output: string): boolean;
  dispose(): Promise<void>;
}

const floatTypes: readonly string[] = ["float32", "float16"] satisfies FloatType[];
const idTypes: readonly string[] = ["int64", "int32"];

export class OnnxGraph implements Graph {
  readonly name: string;
  readonly #gpu: Gpu;
  readonly #session: OrtSession;
  readonly #inputs: ReadonlyMap<string, BoundEnd>;
  readonly #outputs: ReadonlyMap<string, BoundEnd>;
  readonly #casts: Casts;

  private constructor(
    gpu: Gpu,
    name: string,
    session: OrtSession,
    inputs: ReadonlyMap<string, BoundEnd>,
    outputs: ReadonlyMap<string, BoundEnd>,
  ) {
    this.name = name;
    this.#gpu = gpu;
    this.#session = session;
    this.#inputs = inputs;
    this.#outputs = outputs;
    this.#casts = new Casts(gpu);
  }

  /**
   * Loads the graph onto the device.
   * @throws {OnnxError} naming the node that onnxruntime refuses, or every end that does not fit
   */
  static async open(gpu: Gpu, files: OnnxFiles, wanted: GraphInterface): Promise<OnnxGraph> {
    const { name } = files;
    let session: OrtSession;
    try {
      session = await createSession(gpu, name, files.model, files.external);
    } catch (error) {
      throw error instanceof OnnxError ? withNode(error, files.summary) : error;
    }
    const problems: string[] = [];
    const inputs = bind("input", session.inputMetadata, wanted.inputs, problems);
    const outputs = bind("output", session.outputMetadata, wanted.outputs, problems);
    const used = new Set([...inputs.values()].map((end) => end.name));
    for (const extra of session.inputNames.filter((input) => !used.has(input))) {
      problems.push(`input ${extra} is not one that this network is given`);
    }
    if (problems.length > 0) {
      await releaseSession(name, session);
      throw new OnnxError(name, `does not fit its config:\n  ${problems.join("\n  ")}`);
    }
    return new OnnxGraph(gpu, name, session, inputs, outputs);
  }

  /**
   * Runs once. Inputs are whole buffers (`byteOffset` 0); outputs are copied to the given tensors,
   * whose shapes must be what the graph makes.
   */
  async run(
    inputs: Readonly<Record<string, GraphInput>>,
    outputs: Readonly<Record<string, Tensor>>,
  ): Promise<void> {
    const owned: OrtTensor[] = [];
    try {
      const feeds: Record<string, OrtTensor> = {};
      for (const [key, value] of Object.entries(inputs)) {
        const end = this.#inputs.get(key)!;
        feeds[end.name] = await this.#feed(end, value, owned);
      }
      const wanted = Object.entries(outputs).map(([key, target]) => ({
        end: this.#outputs.get(key)!,
        target,
      }));
      const names = wanted.map(({ end }) => end.name);
      const results = await runSession(this.#gpu, this.name, this.#session, feeds, names);
      owned.push(...Object.values(results));
      const copies: { from: Tensor; to: Tensor }[] = [];
      for (const { end, target } of wanted) {
        let result = results[end.name]!;
        if (elements(result.dims) !== elements(target.shape)) {
          throw new OnnxError(
            this.name,
            `${end.name} came as [${result.dims}], wanted [${target.shape}]`,
          );
        }
        if (end.type === "float16") {
          result = await this.#casts.to("float32", result);
          owned.push(result);
        }
        copies.push({ from: tensorOf(result, end.name, target), to: target });
      }
      await this.#gpu.submit(this.name, (encoder) => {
        for (const { from, to } of copies) copyTensor(encoder, from, to);
      });
    } finally {
      for (const tensor of owned) tensor.dispose();
    }
  }

  gives(output: string): boolean {
    return this.#outputs.has(output);
  }

  /** Frees the graph's weights; a run under way ends first. */
  async dispose(): Promise<void> {
    await this.#casts.dispose();
    await releaseSession(this.name, this.#session);
  }

  async #feed(end: BoundEnd, value: GraphInput, owned: OrtTensor[]): Promise<OrtTensor> {
    if (value instanceof Int32Array) {
      const dims = [1, value.length];
      return end.type === "int64"
        ? new OrtTensor("int64", BigInt64Array.from(value, BigInt), dims)
        : new OrtTensor("int32", value, dims);
    }
    if (value.byteOffset !== 0) {
      throw new TypeError(
        `${value.label} starts inside its buffer; onnxruntime binds whole buffers`,
      );
    }
    const tensor = OrtTensor.fromGpuBuffer(value.storage.buffer, {
      dataType: "float32",
      dims: [...value.shape],
    });
    if (end.type === "float32") return tensor;
    const cast = await this.#casts.to("float16", tensor);
    owned.push(cast);
    return cast;
  }
}

/** onnxruntime's result as a tensor of `target`'s length. */
function tensorOf(result: OrtTensor, label: string, target: Tensor): Tensor {
  const { byteLength, dtype, shape } = target;
  return {
    label,
    shape,
    dtype,
    storage: { buffer: result.gpuBuffer as GPUBuffer },
    byteOffset: 0,
    byteLength,
  };
}

type Metadata = OrtSession["inputMetadata"];

/** Finds every wanted end in the graph and lists what is wrong with it. */
function bind(
  side: "input" | "output",
  found: Metadata,
  wanted: readonly GraphEnd[],
  problems: string[],
): Map<string, BoundEnd> {
  const bound = new Map<string, BoundEnd>();
  for (const end of wanted) {
    const names = [end.name, ...end.aliases ?? []];
    const meta = found.find(({ name }) => names.includes(name));
    if (!meta && end.optional) continue;
    if (!meta) {
      const have = found.map(({ name }) => name).join(", ");
      problems.push(`${side} ${names.join(" or ")} is missing; the graph has ${have}`);
      continue;
    }
    const { name } = meta;
    if (!meta.isTensor) {
      problems.push(`${side} ${name} is no tensor`);
      continue;
    }
    const types = end.kind === "float" ? floatTypes : idTypes;
    if (!types.includes(meta.type)) {
      problems.push(`${side} ${name} is ${meta.type}, wanted ${types.join(" or ")}`);
    }
    const fits = meta.shape.length === end.dims.length &&
      meta.shape.every((extent, i) => fitsExtent(extent, end.dims[i]!));
    if (!fits) {
      const dims = end.dims.map((extent) => extent ?? "any");
      problems.push(`${side} ${name} is [${meta.shape}], wanted [${dims}]`);
    }
    bound.set(end.name, { name, type: meta.type });
  }
  return bound;
}

/** A fixed extent must be the config's, and one that varies must be free in the graph. */
function fitsExtent(found: number | string, wanted: number | null): boolean {
  return typeof found === "string" || found === wanted;
}

/** Adds the node that onnxruntime's message is about, where it does not name it itself. */
function withNode(error: OnnxError, { nodes }: ModelSummary): OnnxError {
  const { message } = error;
  if (nodes.some(({ name }) => name !== "" && message.includes(name))) return error;
  const op = /(\w+)\(-?\d+\) is not a registered/.exec(message)?.[1] ??
    /No Op registered for (\w+)/.exec(message)?.[1];
  const value = /input '([^']*)' is not/.exec(message)?.[1];
  const blamed = nodes.filter(({ opType, inputs }) =>
    opType === op || (value !== undefined && inputs.includes(value))
  );
  if (blamed.length === 0) return error;
  const shown = blamed.slice(0, 3).map(({ name, opType }) => name || opType).join(", ");
  const more = blamed.length > 3 ? ` and ${blamed.length - 3} more` : "";
  const text = message.slice(error.graph.length + 2);
  return new OnnxError(error.graph, `${text} (node ${shown}${more})`, { cause: error });
}
