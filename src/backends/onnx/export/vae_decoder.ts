/**
 * The decoder of `AutoencoderKL` as an ONNX graph, with Optimum's names: `latent_sample` [batch,
 * latent_channels, height_latent, width_latent] (already divided by the scaling factor and
 * shifted) -> `sample` [batch, out_channels, height, width], about -1..1.
 */
import type { VaeConfig } from "../../../models/sd3/configs.ts";
import type { GraphBuilder, Value } from "./graph.ts";
import { conv } from "./layers.ts";
import { conv3, midBlock, normSilu, resnet } from "./vae_blocks.ts";

export function buildVaeDecoder(g: GraphBuilder, config: VaeConfig): void {
  const channels = config.block_out_channels;
  const top = channels.at(-1)!;
  const latent = config.latent_channels;
  const groups = config.norm_num_groups;
  let x = g.input("latent_sample", "f32", ["batch", latent, "height_latent", "width_latent"]);
  if (config.use_post_quant_conv) {
    x = conv(g, x, "post_quant_conv", { inputs: latent, outputs: latent, kernel: 1 });
  }
  x = conv3(g, x, "decoder.conv_in", latent, top);
  x = midBlock(g, x, "decoder.mid_block", top, config);

  let inputs = top;
  for (const [i, outputs] of channels.toReversed().entries()) {
    const path = `decoder.up_blocks.${i}`;
    for (let j = 0; j <= config.layers_per_block; j++) {
      x = resnet(g, x, `${path}.resnets.${j}`, inputs, outputs, groups);
      inputs = outputs;
    }
    if (i < channels.length - 1) x = upsample(g, x, `${path}.upsamplers.0`, outputs);
  }
  x = normSilu(g, x, "decoder.conv_norm_out", inputs, groups);
  x = conv3(g, x, "decoder.conv_out", inputs, config.out_channels);
  g.output("sample", x, ["batch", config.out_channels, "height", "width"]);
}

/** Doubles height and width by repeating pixels, then convolves. */
function upsample(g: GraphBuilder, x: Value, path: string, channels: number): Value {
  return g.within(path, () => {
    const scales = g.floats([1, 1, 2, 2], [4]);
    const doubled = g.op("Resize", [x, undefined, scales], {
      mode: "nearest",
      coordinate_transformation_mode: "asymmetric",
      nearest_mode: "floor",
    });
    return conv3(g, doubled, `${path}.conv`, channels, channels);
  });
}
