/** One computation of the networks, for our kernels and as an ONNX graph of standard operators. */
import type { Recorder } from "../../../src/gpu/recorder.ts";
import type { Tensor } from "../../../src/gpu/tensor.ts";
import type { GraphBuilder, Value } from "../../../src/backends/onnx/export/graph.ts";
import type { DeclaredWeights } from "../../../src/weights/declared.ts";
import type { WeightType } from "../../../src/weights/weight_type.ts";
import type { Shapes } from "../../foreign/shapes.ts";

export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array<ArrayBuffer>;
}

export type HostTensors = Readonly<Record<string, HostTensor>>;

export interface BenchCase {
  /** What `--only` selects by. */
  readonly group: string;
  readonly name: string;
  /** Arithmetic of the computation as written down, whatever a kernel really does. */
  readonly flops?: number;
  /** Bytes that must be read and written once, for what memory limits. */
  readonly bytes?: number;
  /** By name; matrices are f16, vectors f32. */
  readonly weights: Shapes;
  /** How they are loaded; default "auto". A graph has them as they are stored. */
  readonly weightType?: WeightType;
  /** By name, as the graph takes them. */
  readonly inputs: () => HostTensors;
  /** The inputs as our kernels want them; default: as the graph does. */
  readonly wgslInputs?: (inputs: HostTensors) => HostTensors;
  /** Declares the weights and returns what records the computation. */
  readonly wgsl: (
    declared: DeclaredWeights,
  ) => (rec: Recorder, inputs: Readonly<Record<string, Tensor>>) => readonly Tensor[];
  /** Our results in the order and layout of the graph's outputs; default: as they are. */
  readonly toGraphOrder?: (results: readonly HostTensor[]) => readonly HostTensor[];
  /** Adds the computation, and returns its outputs with their dimensions. */
  readonly graph: (
    g: GraphBuilder,
    inputs: Readonly<Record<string, Value>>,
  ) => readonly (readonly [Value, dims: readonly number[]])[];
}
