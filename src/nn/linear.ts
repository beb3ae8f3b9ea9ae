import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { linear, type LinearOptions as ProductOptions } from "../ops/linear.ts";
import type { Parameter } from "../weights/parameter.ts";
import type { DeclaredWeights } from "../weights/declared.ts";

/** A layer of the checkpoint in a `Linear`: rows `rowStart` to `rowStart + rows` of its weight. */
export interface LinearPart {
  readonly path: string;
  readonly rowStart: number;
  readonly rows: number;
}

export interface LinearOptions {
  /** Default: true. */
  readonly bias?: boolean;
  /**
   * Layers of the checkpoint over one input that are computed as one product, their rows one below
   * the other: `path` then is a name for labels only. Default: the one at `path`.
   */
  readonly parts?: readonly Pick<LinearPart, "path" | "rows">[];
  /** Another shape that the stored weight may have, such as that of a convolution. */
  readonly storedShape?: readonly number[];
}

/** `x * weight^T + bias`: one layer, or several as one product. */
export class Linear {
  readonly path: string;
  /** The layers in it, in the order of their rows. */
  readonly parts: readonly LinearPart[];
  readonly #weight: Parameter;
  readonly #bias: Parameter | undefined;

  constructor(
    weights: DeclaredWeights,
    path: string,
    inputs: number,
    outputs: number,
    { bias = true, parts = [{ path, rows: outputs }], storedShape }: LinearOptions = {},
  ) {
    this.path = path;
    let rowStart = 0;
    this.parts = parts.map((part) => {
      const placed = { ...part, rowStart };
      rowStart += part.rows;
      return placed;
    });
    const keyed = (name: string) =>
      parts.map(({ path, rows }) => ({ key: `${path}.${name}`, rows }));
    this.#weight = storedShape
      ? weights.matrix(`${path}.weight`, [outputs, inputs], { storedShapes: [storedShape] })
      : weights.stack(keyed("weight"), inputs);
    this.#bias = bias ? weights.concat(keyed("bias")) : undefined;
  }

  /** [B, ..., inputs] to [B, ..., outputs], or added to `into`. */
  forward(
    rec: Recorder,
    x: Tensor,
    options: Pick<ProductOptions, "activation" | "into" | "gate"> = {},
  ): Tensor {
    const { path: label } = this;
    return linear(rec, { x, weight: this.#weight, bias: this.#bias?.tensor, label, ...options });
  }
}
