/** A CLIP text encoder as an ONNX graph. */
import type { Tensor } from "../../gpu/tensor.ts";
import type { ClipComponent } from "../../models/sd3/components.ts";
import type { ClipTextConfig } from "../../models/sd3/configs.ts";
import { InvalidRequestError } from "../../requests/errors.ts";
import type { Graph, GraphEnd, GraphKind } from "./graph.ts";
import { tokenActivations } from "./activations.ts";

class OnnxClip implements ClipComponent {
  readonly hiddenSize: number;
  readonly projectionDim: number;
  readonly #graph: Graph;
  readonly #layers: number;

  constructor(config: ClipTextConfig, graph: Graph) {
    this.hiddenSize = config.hidden_size;
    this.projectionDim = config.projection_dim;
    this.#graph = graph;
    this.#layers = config.num_hidden_layers;
  }

  async embed(
    ids: Int32Array,
    { hidden, pooled }: { hidden: Tensor; pooled: Tensor },
    skip = 0,
  ): Promise<void> {
    const name = stateName(this.#layers - 1 - skip);
    if (!this.#graph.gives(name)) {
      throw new InvalidRequestError(
        "clip_skip",
        `clip_skip: must be 0, as an ONNX graph of this model has no output ${name}`,
      );
    }
    await this.#graph.run({ input_ids: ids }, { text_embeds: pooled, [name]: hidden });
  }

  dispose(): Promise<void> {
    return this.#graph.dispose();
  }
}

/** The state before a layer; SD3 reads none after the one before the last. */
function stateName(layer: number): string {
  return `hidden_states.${layer}`;
}

export const clipGraph: GraphKind<ClipTextConfig, ClipComponent> = {
  ends: (config) => ({
    inputs: [{ name: "input_ids", dims: [1, null], kind: "ids" }],
    outputs: [
      { name: "text_embeds", dims: [1, config.projection_dim], kind: "float" },
      ...Array.from({ length: config.num_hidden_layers }, (_, layer): GraphEnd => ({
        name: stateName(layer),
        dims: [1, null, config.hidden_size],
        kind: "float",
        // Earlier ones are read on request.
        optional: layer < config.num_hidden_layers - 1,
      })),
    ],
  }),
  make: (_gpu, config, graph) => new OnnxClip(config, graph),
  activations: ({ hidden_size, num_attention_heads }, { input_ids }) =>
    tokenActivations((input_ids as Int32Array).length, hidden_size, num_attention_heads),
};
