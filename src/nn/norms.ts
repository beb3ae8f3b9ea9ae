import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { groupNorm } from "../ops/group_norm.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import { qkRmsNorm } from "../ops/qk_rms_norm.ts";
import { rmsNorm } from "../ops/rms_norm.ts";
import type { Parameter } from "../weights/parameter.ts";
import type { DeclaredWeights } from "../weights/declared.ts";

/** Over the last axis, with weight and bias. */
export class LayerNorm {
  readonly path: string;
  readonly #weight: Parameter;
  readonly #bias: Parameter;
  readonly #eps: number;

  constructor(weights: DeclaredWeights, path: string, channels: number, eps: number) {
    this.path = path;
    this.#weight = weights.vector(`${path}.weight`, channels);
    this.#bias = weights.vector(`${path}.bias`, channels);
    this.#eps = eps;
  }

  forward(rec: Recorder, x: Tensor): Tensor {
    const [weight, bias] = [this.#weight.tensor, this.#bias.tensor];
    return layerNorm(rec, { x, weight, bias, eps: this.#eps, label: this.path });
  }
}

/** T5's "layer norm": over the last axis, without mean and bias. */
export class RmsNorm {
  readonly path: string;
  readonly #weight: Parameter;
  readonly #eps: number;

  constructor(weights: DeclaredWeights, path: string, channels: number, eps: number) {
    this.path = path;
    this.#weight = weights.vector(`${path}.weight`, channels);
    this.#eps = eps;
  }

  forward(rec: Recorder, x: Tensor): Tensor {
    return rmsNorm(rec, { x, weight: this.#weight.tensor, eps: this.#eps, label: this.path });
  }
}

/** Over pixels and the channels of a group, channels last. */
export class GroupNorm {
  readonly path: string;
  readonly #groups: number;
  readonly #weight: Parameter;
  readonly #bias: Parameter;
  readonly #eps: number;

  constructor(
    weights: DeclaredWeights,
    path: string,
    groups: number,
    channels: number,
    eps: number,
  ) {
    this.path = path;
    this.#groups = groups;
    this.#weight = weights.vector(`${path}.weight`, channels);
    this.#bias = weights.vector(`${path}.bias`, channels);
    this.#eps = eps;
  }

  /** [B, H, W, C], with silu in the same pass where it follows. */
  forward(rec: Recorder, x: Tensor, { silu }: { silu: boolean }): Tensor {
    return groupNorm(rec, {
      x,
      groups: this.#groups,
      weight: this.#weight.tensor,
      bias: this.#bias.tensor,
      eps: this.#eps,
      silu,
      label: this.path,
    });
  }
}

export interface QkNormOptions {
  readonly heads: number;
  readonly headDim: number;
  readonly eps: number;
}

/** RMS norm of each head's query and of its key, with a weight for either. */
export class QkRmsNorm {
  readonly #options: QkNormOptions;
  readonly #q: Parameter;
  readonly #k: Parameter;
  readonly #label: string;

  constructor(weights: DeclaredWeights, q: string, k: string, options: QkNormOptions) {
    this.#options = options;
    this.#label = q;
    this.#q = weights.vector(`${q}.weight`, options.headDim);
    this.#k = weights.vector(`${k}.weight`, options.headDim);
  }

  /** Changes `qkv` [B, S, 3 * heads * headDim] in place. */
  forward(rec: Recorder, qkv: Tensor): Tensor {
    const [qWeight, kWeight] = [this.#q.tensor, this.#k.tensor];
    return qkRmsNorm(rec, { qkv, qWeight, kWeight, ...this.#options, label: this.#label });
  }
}
