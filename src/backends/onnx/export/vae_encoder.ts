/**
 * The encoder of `AutoencoderKL` as an ONNX graph, with Optimum's names: `sample` [batch,
 * in_channels, height, width] in -1..1 -> `latent_parameters` [batch, 2 * latent_channels,
 * height_latent, width_latent]: means, then log variances as the network gives them (unclamped).
 */
import type { VaeConfig } from "../../../models/sd3/configs.ts";
import type { GraphBuilder, Value } from "./graph.ts";
import { conv } from "./layers.ts";
import { conv3, midBlock, normSilu, resnet } from "./vae_blocks.ts";

export function buildVaeEncoder(g: GraphBuilder, config: VaeConfig): void {
  const channels = config.block_out_channels;
  const groups = config.norm_num_groups;
  let inputs = channels[0]!;
  let x = g.input("sample", "f32", ["batch", config.in_channels, "height", "width"]);
  x = conv3(g, x, "encoder.conv_in", config.in_channels, inputs);
  for (const [i, outputs] of channels.entries()) {
    const path = `encoder.down_blocks.${i}`;
    for (let j = 0; j < config.layers_per_block; j++) {
      x = resnet(g, x, `${path}.resnets.${j}`, inputs, outputs, groups);
      inputs = outputs;
    }
    if (i < channels.length - 1) x = downsample(g, x, `${path}.downsamplers.0`, outputs);
  }
  x = midBlock(g, x, "encoder.mid_block", inputs, config);
  x = normSilu(g, x, "encoder.conv_norm_out", inputs, groups);
  const moments = 2 * config.latent_channels;
  x = conv3(g, x, "encoder.conv_out", inputs, moments);
  if (config.use_quant_conv) {
    x = conv(g, x, "quant_conv", { inputs: moments, outputs: moments, kernel: 1 });
  }
  g.output("latent_parameters", x, ["batch", moments, "height_latent", "width_latent"]);
}

/** Halves height and width; the padding is below and to the right only. */
function downsample(g: GraphBuilder, x: Value, path: string, channels: number): Value {
  return g.within(path, () =>
    conv(g, x, `${path}.conv`, {
      inputs: channels,
      outputs: channels,
      kernel: 3,
      stride: 2,
      pads: [0, 0, 1, 1],
    }));
}
