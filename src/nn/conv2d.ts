import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { conv2d, type Conv2dOptions } from "../ops/conv2d.ts";
import type { Parameter } from "../weights/parameter.ts";
import type { DeclaredWeights } from "../weights/declared.ts";

/** A convolution, channels last. */
export class Conv2d {
  readonly path: string;
  readonly #weight: Parameter;
  readonly #bias: Parameter;

  constructor(weights: DeclaredWeights, path: string, inputs: number, outputs: number, kernel = 3) {
    this.path = path;
    this.#weight = weights.conv(`${path}.weight`, [outputs, inputs, kernel, kernel]);
    this.#bias = weights.vector(`${path}.bias`, outputs);
  }

  /** [B, H, W, inputs] to [B, H', W', outputs], or added to `into`. */
  forward(
    rec: Recorder,
    x: Tensor,
    options: Pick<Conv2dOptions, "stride" | "padding" | "upsample" | "into"> = {},
  ): Tensor {
    const bias = this.#bias.tensor;
    return conv2d(rec, { x, weight: this.#weight, bias, label: this.path, ...options });
  }
}
