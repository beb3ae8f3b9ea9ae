/** What the decoder and the encoder of AutoencoderKL share (diffusers `resnet.py`, `unet_2d_blocks.py`). NHWC. */
import type { Recorder } from "../../../gpu/program.ts";
import { reshape, type Tensor } from "../../../gpu/tensor.ts";
import { conv2d } from "../../../ops/conv2d.ts";
import { groupNorm } from "../../../ops/group_norm.ts";
import { linear } from "../../../ops/linear.ts";
import { wideAttention } from "../../../ops/wide_attention.ts";
import type { Parameter } from "../../../weights/parameter.ts";
import type { WeightPlan } from "../../../weights/plan.ts";

/** eps of every norm in the autoencoder; diffusers does not configure it. */
const normEps = 1e-6;

interface Weighted {
  readonly weight: Parameter;
  readonly bias: Parameter;
}

export class Conv2d {
  readonly path: string;
  readonly #weight: Parameter;
  readonly #bias: Parameter;

  constructor(plan: WeightPlan, path: string, inputs: number, outputs: number, kernel = 3) {
    this.path = path;
    this.#weight = plan.conv(`${path}.weight`, [outputs, inputs, kernel, kernel]);
    this.#bias = plan.vector(`${path}.bias`, outputs);
  }

  /** [B, H, W, inputs] to [B, H', W', outputs], or added to `into`. */
  forward(
    rec: Recorder,
    x: Tensor,
    options: {
      stride?: 1 | 2;
      padding?: "same" | "asymmetric";
      upsample?: boolean;
      into?: Tensor;
    } = {},
  ): Tensor {
    return conv2d(rec, {
      x,
      weight: this.#weight,
      bias: this.#bias.tensor,
      label: this.path,
      ...options,
    });
  }
}

export class GroupNorm {
  readonly #path: string;
  readonly #groups: number;
  readonly #affine: Weighted;

  constructor(plan: WeightPlan, path: string, groups: number, channels: number) {
    this.#path = path;
    this.#groups = groups;
    this.#affine = {
      weight: plan.vector(`${path}.weight`, channels),
      bias: plan.vector(`${path}.bias`, channels),
    };
  }

  forward(rec: Recorder, x: Tensor, { silu }: { silu: boolean }): Tensor {
    return groupNorm(rec, {
      x,
      groups: this.#groups,
      weight: this.#affine.weight.tensor,
      bias: this.#affine.bias.tensor,
      eps: normEps,
      silu,
      label: this.#path,
    });
  }
}

/** `ResnetBlock2D` without time embedding: x + conv(silu(norm(conv(silu(norm(x)))))). */
export class ResnetBlock {
  readonly #norm1: GroupNorm;
  readonly #conv1: Conv2d;
  readonly #norm2: GroupNorm;
  readonly #conv2: Conv2d;
  readonly #shortcut: Weighted | undefined;
  readonly #path: string;
  readonly #outputs: number;

  constructor(plan: WeightPlan, path: string, inputs: number, outputs: number, groups: number) {
    this.#path = path;
    this.#outputs = outputs;
    this.#norm1 = new GroupNorm(plan, `${path}.norm1`, groups, inputs);
    this.#conv1 = new Conv2d(plan, `${path}.conv1`, inputs, outputs);
    this.#norm2 = new GroupNorm(plan, `${path}.norm2`, groups, outputs);
    this.#conv2 = new Conv2d(plan, `${path}.conv2`, outputs, outputs);
    this.#shortcut = inputs === outputs ? undefined : {
      weight: plan.matrix(`${path}.conv_shortcut.weight`, [outputs, inputs], {
        storedShapes: [[outputs, inputs, 1, 1]],
      }),
      bias: plan.vector(`${path}.conv_shortcut.bias`, outputs),
    };
  }

  /** May return `x` updated in place. */
  forward(rec: Recorder, x: Tensor): Tensor {
    const [batch, height, width, inputs] = x.shape as [number, number, number, number];
    // A 1x1 convolution is a linear layer over the channels.
    const into = !this.#shortcut ? x : reshape(
      linear(rec, {
        x: reshape(x, [batch, height * width, inputs]),
        weight: this.#shortcut.weight,
        bias: this.#shortcut.bias.tensor,
        label: `${this.#path}.conv_shortcut`,
      }),
      [batch, height, width, this.#outputs],
    );
    const a = this.#norm1.forward(rec, x, { silu: true });
    const b = this.#conv1.forward(rec, a);
    const c = this.#norm2.forward(rec, b, { silu: true });
    return this.#conv2.forward(rec, c, { into });
  }
}

/** The mid block's single-head self-attention over pixels, with its residual. */
class PixelAttention {
  readonly #path: string;
  readonly #norm: GroupNorm;
  readonly #q: Weighted;
  readonly #k: Weighted;
  readonly #v: Weighted;
  readonly #out: Weighted;

  constructor(plan: WeightPlan, path: string, channels: number, groups: number) {
    const affine = (name: string) => ({
      weight: plan.matrix(`${path}.${name}.weight`, [channels, channels]),
      bias: plan.vector(`${path}.${name}.bias`, channels),
    });
    this.#path = path;
    this.#norm = new GroupNorm(plan, `${path}.group_norm`, groups, channels);
    this.#q = affine("to_q");
    this.#k = affine("to_k");
    this.#v = affine("to_v");
    this.#out = affine("to_out.0");
  }

  /** Updates `x` [1, H, W, C] in place. */
  forward(rec: Recorder, x: Tensor): void {
    const [batch, height, width, channels] = x.shape as [number, number, number, number];
    const tokens = [batch, height * width, channels];
    const normed = this.#norm.forward(rec, x, { silu: false });
    const project = ({ weight, bias }: Weighted, name: string) =>
      linear(rec, {
        x: reshape(normed, tokens),
        weight,
        bias: bias.tensor,
        label: `${this.#path}.${name}`,
      });
    const q = project(this.#q, "to_q");
    const k = project(this.#k, "to_k");
    const v = project(this.#v, "to_v");
    const attended = wideAttention(rec, {
      q,
      k,
      v,
      scale: channels ** -0.5,
      label: this.#path,
    });
    linear(rec, {
      x: attended,
      weight: this.#out.weight,
      bias: this.#out.bias.tensor,
      into: reshape(x, tokens),
      label: `${this.#path}.to_out`,
    });
  }
}

/** `UNetMidBlock2D`: resnet, attention where configured, resnet. */
export class MidBlock {
  readonly #first: ResnetBlock;
  readonly #attention: PixelAttention | undefined;
  readonly #second: ResnetBlock;

  constructor(
    plan: WeightPlan,
    path: string,
    channels: number,
    groups: number,
    withAttention: boolean,
  ) {
    this.#first = new ResnetBlock(plan, `${path}.resnets.0`, channels, channels, groups);
    this.#attention = withAttention
      ? new PixelAttention(plan, `${path}.attentions.0`, channels, groups)
      : undefined;
    this.#second = new ResnetBlock(plan, `${path}.resnets.1`, channels, channels, groups);
  }

  forward(rec: Recorder, x: Tensor): Tensor {
    const y = this.#first.forward(rec, x);
    this.#attention?.forward(rec, y);
    return this.#second.forward(rec, y);
  }
}
