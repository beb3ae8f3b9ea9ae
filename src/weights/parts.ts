/** What a loaded parameter consists of, and what of the device it takes to make it. */
import type { Gpu } from "../gpu/device.ts";
import type { Quantized } from "../gpu/quantized.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { WeightTexture } from "../gpu/texture.ts";

/** What loading needs of the device. */
export type WeightGpu = Pick<
  Gpu,
  | "limits"
  | "prefersTextures"
  | "queue"
  | "createBuffer"
  | "destroyBuffer"
  | "createTexture"
  | "destroyTexture"
  | "scope"
  | "idle"
>;

/** Rows `rowStart` to `rowStart + rows` of a parameter. */
export interface ParameterPart {
  readonly tensor: Tensor;
  /** Where the values lie instead of in the tensor's buffer, which it then has none of. */
  readonly texture?: WeightTexture;
  /** The tensor's elements, or the texture's, are words of integers that belong to these scales. */
  readonly quantized?: Quantized;
  readonly rowStart: number;
  readonly rows: number;
}
