/** The T5 encoder as an ONNX graph. */
import type { Gpu } from "../../gpu/device.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { T5Component } from "../../models/sd3/components.ts";
import type { T5Config } from "../../models/sd3/configs.ts";
import type { OnnxFiles } from "./files.ts";
import { type Graph, type GraphInput, OnnxGraph } from "./graph.ts";
import { tokenActivations } from "./activations.ts";

export class OnnxT5 implements T5Component {
  readonly hiddenSize: number;
  readonly #graph: Graph;

  constructor(config: T5Config, graph: Graph) {
    this.hiddenSize = config.d_model;
    this.#graph = graph;
  }

  /** @throws {OnnxError} where the graph is not this encoder */
  static async open(gpu: Gpu, config: T5Config, files: OnnxFiles): Promise<OnnxT5> {
    const graph = await OnnxGraph.open(gpu, files, {
      inputs: [{ name: "input_ids", dims: [1, null], kind: "ids" }],
      outputs: [{ name: "last_hidden_state", dims: [1, null, config.d_model], kind: "float" }],
    });
    return new OnnxT5(config, graph);
  }

  encode(ids: Int32Array, out: Tensor): Promise<void> {
    return this.#graph.run({ input_ids: ids }, { last_hidden_state: out });
  }

  dispose(): Promise<void> {
    return this.#graph.dispose();
  }
}

/** Bytes that one run takes beside its ends. */
export function t5Activations(
  { d_model, num_heads }: T5Config,
  { input_ids }: Readonly<Record<string, GraphInput>>,
): number {
  return tokenActivations((input_ids as Int32Array).length, d_model, num_heads);
}
