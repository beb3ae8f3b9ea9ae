/** The encoder of AutoencoderKL (diffusers `vae.py`): an image to the moments of its latents. */
import type { Recorder } from "../../../gpu/recorder.ts";
import type { Tensor } from "../../../gpu/tensor.ts";
import { Conv2d } from "../../../nn/conv2d.ts";
import { GroupNorm } from "../../../nn/norms.ts";
import type { VaeConfig } from "../configs.ts";
import { imageToNhwc } from "../../../ops/nchw_to_nhwc.ts";
import { nhwcToNchw } from "../../../ops/nhwc_to_nchw.ts";
import type { DeclaredWeights } from "../../../weights/declared.ts";
import { levelResnets, MidBlock, normEps, type ResnetBlock } from "./blocks.ts";

interface DownBlock {
  readonly resnets: readonly ResnetBlock[];
  readonly downsampler: Conv2d | undefined;
}

/** Channels of the first convolution's input: RGB, padded with zeros to what the kernels load. */
const paddedChannels = 8;

export class VaeEncoder {
  readonly config: VaeConfig;
  readonly #convIn: Conv2d;
  readonly #down: readonly DownBlock[];
  readonly #mid: MidBlock;
  readonly #normOut: GroupNorm;
  readonly #convOut: Conv2d;
  readonly #quant: Conv2d | undefined;

  constructor(config: VaeConfig, weights: DeclaredWeights) {
    this.config = config;
    const { block_out_channels: widths, norm_num_groups: groups } = config;
    const moments = 2 * config.latent_channels;
    this.#convIn = new Conv2d(weights, "encoder.conv_in", config.in_channels, widths[0]!);
    this.#down = widths.map((width, i) => {
      const path = `encoder.down_blocks.${i}`;
      const inputs = i === 0 ? width : widths[i - 1]!;
      return {
        resnets: levelResnets(weights, path, config.layers_per_block, [inputs, width], groups),
        downsampler: i === widths.length - 1
          ? undefined
          : new Conv2d(weights, `${path}.downsamplers.0.conv`, width, width),
      };
    });
    const last = widths.at(-1)!;
    this.#mid = new MidBlock(
      weights,
      "encoder.mid_block",
      last,
      groups,
      config.mid_block_add_attention,
    );
    this.#normOut = new GroupNorm(weights, "encoder.conv_norm_out", groups, last, normEps);
    this.#convOut = new Conv2d(weights, "encoder.conv_out", last, moments);
    this.#quant = config.use_quant_conv
      ? new Conv2d(weights, "quant_conv", moments, moments, 1)
      : undefined;
  }

  /**
   * Records the encoding of images f32 [B, 3, H, W] in [-1, 1] to moments [B, 2 * latent_channels,
   * H / 8, W / 8]: the mean in the first half of the channels, the log variance in the second.
   */
  forward(rec: Recorder, image: Tensor): Tensor {
    let x = imageToNhwc(rec, { x: image, channels: paddedChannels, label: "encoder.input" });
    x = this.#convIn.forward(rec, x);
    for (const { resnets, downsampler } of this.#down) {
      for (const resnet of resnets) x = resnet.forward(rec, x);
      if (downsampler) {
        x = downsampler.forward(rec, x, { stride: 2, padding: "asymmetric" });
      }
    }
    x = this.#mid.forward(rec, x);
    x = this.#normOut.forward(rec, x, { silu: true });
    x = this.#convOut.forward(rec, x);
    if (this.#quant) x = this.#quant.forward(rec, x);
    return nhwcToNchw(rec, { x, label: "encoder.moments" });
  }
}
