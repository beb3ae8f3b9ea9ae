/** The decoder of AutoencoderKL (diffusers `vae.py`): latents to an image in [-1, 1]. */
import type { Recorder } from "../../../gpu/recorder.ts";
import type { Tensor } from "../../../gpu/tensor.ts";
import { Conv2d } from "../../../nn/conv2d.ts";
import { GroupNorm } from "../../../nn/norms.ts";
import type { VaeConfig } from "../configs.ts";
import { latentsToNhwc } from "../../../ops/nchw_to_nhwc.ts";
import type { DeclaredWeights } from "../../../weights/declared.ts";
import { levelResnets, MidBlock, normEps, type ResnetBlock } from "./blocks.ts";

interface UpBlock {
  readonly resnets: readonly ResnetBlock[];
  readonly upsampler: Conv2d | undefined;
}

export class VaeDecoder {
  readonly config: VaeConfig;
  readonly #postQuant: Conv2d | undefined;
  readonly #convIn: Conv2d;
  readonly #mid: MidBlock;
  readonly #up: readonly UpBlock[];
  readonly #normOut: GroupNorm;
  readonly #convOut: Conv2d;

  constructor(config: VaeConfig, weights: DeclaredWeights) {
    this.config = config;
    const { latent_channels: latent, norm_num_groups: groups } = config;
    const widths = config.block_out_channels.toReversed();
    this.#postQuant = config.use_post_quant_conv
      ? new Conv2d(weights, "post_quant_conv", latent, latent, 1)
      : undefined;
    this.#convIn = new Conv2d(weights, "decoder.conv_in", latent, widths[0]!);
    this.#mid = new MidBlock(
      weights,
      "decoder.mid_block",
      widths[0]!,
      groups,
      config.mid_block_add_attention,
    );
    this.#up = widths.map((width, i) => {
      const path = `decoder.up_blocks.${i}`;
      const inputs = i === 0 ? width : widths[i - 1]!;
      return {
        resnets: levelResnets(weights, path, config.layers_per_block + 1, [inputs, width], groups),
        upsampler: i === widths.length - 1
          ? undefined
          : new Conv2d(weights, `${path}.upsamplers.0.conv`, width, width),
      };
    });
    this.#normOut = new GroupNorm(
      weights,
      "decoder.conv_norm_out",
      groups,
      widths.at(-1)!,
      normEps,
    );
    this.#convOut = new Conv2d(weights, "decoder.conv_out", widths.at(-1)!, config.out_channels);
  }

  /**
   * Records the decoding of pipeline latents f32 [B, latent_channels, h, w] to [B, H, W, 3]. Undoes
   * the model's scaling first: latents / scaling_factor + shift_factor.
   */
  forward(rec: Recorder, latents: Tensor): Tensor {
    const { scaling_factor, shift_factor } = this.config;
    let x = latentsToNhwc(rec, {
      latents,
      divisor: scaling_factor,
      shift: shift_factor,
      label: "decoder.input",
    });
    if (this.#postQuant) x = this.#postQuant.forward(rec, x);
    x = this.#convIn.forward(rec, x);
    x = this.#mid.forward(rec, x);
    for (const { resnets, upsampler } of this.#up) {
      for (const resnet of resnets) x = resnet.forward(rec, x);
      if (upsampler) x = upsampler.forward(rec, x, { upsample: true });
    }
    x = this.#normOut.forward(rec, x, { silu: true });
    x = this.#convOut.forward(rec, x);
    return x;
  }
}
