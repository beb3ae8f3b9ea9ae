/** What the decoder and the encoder of AutoencoderKL share (diffusers `resnet.py`, `unet_2d_blocks.py`). NHWC. */
import type { Recorder } from "../../../gpu/recorder.ts";
import { reshape, type Tensor } from "../../../gpu/tensor.ts";
import { Conv2d } from "../../../nn/conv2d.ts";
import { Linear } from "../../../nn/linear.ts";
import { GroupNorm } from "../../../nn/norms.ts";
import { wideAttention } from "../../../ops/wide_attention.ts";
import type { DeclaredWeights } from "../../../weights/declared.ts";

/** eps of every norm in the autoencoder; diffusers does not configure it. */
export const normEps = 1e-6;

/** `ResnetBlock2D` without time embedding: x + conv(silu(norm(conv(silu(norm(x)))))). */
export class ResnetBlock {
  readonly #norm1: GroupNorm;
  readonly #conv1: Conv2d;
  readonly #norm2: GroupNorm;
  readonly #conv2: Conv2d;
  /** A 1x1 convolution, which is a linear layer over the channels. */
  readonly #shortcut: Linear | undefined;

  constructor(
    weights: DeclaredWeights,
    path: string,
    inputs: number,
    outputs: number,
    groups: number,
  ) {
    this.#norm1 = new GroupNorm(weights, `${path}.norm1`, groups, inputs, normEps);
    this.#conv1 = new Conv2d(weights, `${path}.conv1`, inputs, outputs);
    this.#norm2 = new GroupNorm(weights, `${path}.norm2`, groups, outputs, normEps);
    this.#conv2 = new Conv2d(weights, `${path}.conv2`, outputs, outputs);
    const storedShape = [outputs, inputs, 1, 1];
    this.#shortcut = inputs === outputs
      ? undefined
      : new Linear(weights, `${path}.conv_shortcut`, inputs, outputs, { storedShape });
  }

  /** May return `x` [B, H, W, C] updated in place. */
  forward(rec: Recorder, x: Tensor): Tensor {
    const into = this.#shortcut?.forward(rec, x) ?? x;
    const a = this.#norm1.forward(rec, x, { silu: true });
    const b = this.#conv1.forward(rec, a);
    const c = this.#norm2.forward(rec, b, { silu: true });
    return this.#conv2.forward(rec, c, { into });
  }
}

/** A level's resnets, one after the other; the first has the level before it for inputs. */
export function levelResnets(
  weights: DeclaredWeights,
  path: string,
  count: number,
  [inputs, outputs]: readonly [number, number],
  groups: number,
): readonly ResnetBlock[] {
  return Array.from({ length: count }, (_, j) => {
    const channels = j === 0 ? inputs : outputs;
    return new ResnetBlock(weights, `${path}.resnets.${j}`, channels, outputs, groups);
  });
}

/** The mid block's single-head self-attention over pixels, with its residual. */
class PixelAttention {
  readonly #path: string;
  readonly #norm: GroupNorm;
  readonly #q: Linear;
  readonly #k: Linear;
  readonly #v: Linear;
  readonly #out: Linear;

  constructor(weights: DeclaredWeights, path: string, channels: number, groups: number) {
    const linear = (name: string) => new Linear(weights, `${path}.${name}`, channels, channels);
    this.#path = path;
    this.#norm = new GroupNorm(weights, `${path}.group_norm`, groups, channels, normEps);
    this.#q = linear("to_q");
    this.#k = linear("to_k");
    this.#v = linear("to_v");
    this.#out = linear("to_out.0");
  }

  /** Updates `x` [1, H, W, C] in place. */
  forward(rec: Recorder, x: Tensor): void {
    const [batch, height, width, channels] = x.shape as [number, number, number, number];
    const tokens = [batch, height * width, channels];
    const normed = reshape(this.#norm.forward(rec, x, { silu: false }), tokens);
    const attended = wideAttention(rec, {
      q: this.#q.forward(rec, normed),
      k: this.#k.forward(rec, normed),
      v: this.#v.forward(rec, normed),
      scale: channels ** -0.5,
      label: this.#path,
    });
    this.#out.forward(rec, attended, { into: reshape(x, tokens) });
  }
}

/** `UNetMidBlock2D`: resnet, attention where configured, resnet. */
export class MidBlock {
  readonly #first: ResnetBlock;
  readonly #attention: PixelAttention | undefined;
  readonly #second: ResnetBlock;

  constructor(
    weights: DeclaredWeights,
    path: string,
    channels: number,
    groups: number,
    withAttention: boolean,
  ) {
    this.#first = new ResnetBlock(weights, `${path}.resnets.0`, channels, channels, groups);
    this.#attention = withAttention
      ? new PixelAttention(weights, `${path}.attentions.0`, channels, groups)
      : undefined;
    this.#second = new ResnetBlock(weights, `${path}.resnets.1`, channels, channels, groups);
  }

  forward(rec: Recorder, x: Tensor): Tensor {
    const y = this.#first.forward(rec, x);
    this.#attention?.forward(rec, y);
    return this.#second.forward(rec, y);
  }
}
