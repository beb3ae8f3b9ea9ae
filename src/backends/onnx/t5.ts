/** The T5 encoder as an ONNX graph. */
import type { Tensor } from "../../gpu/tensor.ts";
import type { T5Component } from "../../models/sd3/components.ts";
import type { T5Config } from "../../models/sd3/configs.ts";
import type { Graph, GraphKind } from "./graph.ts";
import { tokenActivations } from "./activations.ts";

class OnnxT5 implements T5Component {
  readonly hiddenSize: number;
  readonly #graph: Graph;

  constructor(config: T5Config, graph: Graph) {
    this.hiddenSize = config.d_model;
    this.#graph = graph;
  }

  embed(ids: Int32Array, out: Tensor): Promise<void> {
    return this.#graph.run({ input_ids: ids }, { last_hidden_state: out });
  }

  dispose(): Promise<void> {
    return this.#graph.dispose();
  }
}

export const t5Graph: GraphKind<T5Config, T5Component> = {
  ends: ({ d_model }) => ({
    inputs: [{ name: "input_ids", dims: [1, null], kind: "ids" }],
    outputs: [{ name: "last_hidden_state", dims: [1, null, d_model], kind: "float" }],
  }),
  make: (_gpu, config, graph) => new OnnxT5(config, graph),
  activations: ({ d_model, num_heads }, { input_ids }) =>
    tokenActivations((input_ids as Int32Array).length, d_model, num_heads),
};
