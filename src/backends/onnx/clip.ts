/** A CLIP text encoder as an ONNX graph. */
import type { Tensor } from "../../gpu/tensor.ts";
import type { ClipComponent } from "../../models/sd3/components.ts";
import type { ClipTextConfig } from "../../models/sd3/configs.ts";
import type { Graph, GraphKind } from "./graph.ts";
import { tokenActivations } from "./activations.ts";

class OnnxClip implements ClipComponent {
  readonly hiddenSize: number;
  readonly projectionDim: number;
  readonly #graph: Graph;
  readonly #penultimate: string;

  constructor(config: ClipTextConfig, graph: Graph) {
    this.hiddenSize = config.hidden_size;
    this.projectionDim = config.projection_dim;
    this.#graph = graph;
    this.#penultimate = penultimateOf(config);
  }

  encode(ids: Int32Array, out: { penultimate: Tensor; pooled: Tensor }): Promise<void> {
    return this.#graph.run(
      { input_ids: ids },
      { text_embeds: out.pooled, [this.#penultimate]: out.penultimate },
    );
  }

  dispose(): Promise<void> {
    return this.#graph.dispose();
  }
}

/** The state before the last layer: SD3 reads no later one. */
function penultimateOf(config: ClipTextConfig): string {
  return `hidden_states.${config.num_hidden_layers - 1}`;
}

export const clipGraph: GraphKind<ClipTextConfig, ClipComponent> = {
  ends: (config) => ({
    inputs: [{ name: "input_ids", dims: [1, null], kind: "ids" }],
    outputs: [
      { name: "text_embeds", dims: [1, config.projection_dim], kind: "float" },
      { name: penultimateOf(config), dims: [1, null, config.hidden_size], kind: "float" },
    ],
  }),
  make: (_gpu, config, graph) => new OnnxClip(config, graph),
  activations: ({ hidden_size, num_attention_heads }, { input_ids }) =>
    tokenActivations((input_ids as Int32Array).length, hidden_size, num_attention_heads),
};
