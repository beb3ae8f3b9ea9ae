import source from "../../kernels/nchw_to_nhwc.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";

export interface NchwToNhwcOptions {
  /** (B, C, H, W) */
  readonly x: Tensor;
  /** Channels of the result; those past C are zero. Default C. */
  readonly channels?: number | undefined;
  /** Every value becomes `value / divisor + shift`; divided, so that it rounds as torch does. */
  readonly divisor?: number;
  readonly shift?: number;
  readonly label: string;
}

export interface LatentsToNhwcOptions {
  /** (B, C, h, w) */
  readonly latents: Tensor;
  /** The VAE's scaling factor. */
  readonly divisor: number;
  /** The VAE's shift factor. */
  readonly shift: number;
  readonly label: string;
}

export interface ImageToNhwcOptions {
  /** (B, 3, H, W) in [-1, 1] */
  readonly x: Tensor;
  /** What the first convolution's kernel wants, zero past 3. */
  readonly channels: number;
  readonly label: string;
}

const kernel = defineKernel("nchw_to_nhwc", source);

/** Channels first to channels last, (B, H, W, channels). */
export function nchwToNhwc(rec: Recorder, options: NchwToNhwcOptions): Tensor {
  const { x, divisor = 1, shift = 0, label } = options;
  checkTensor("nchwToNhwc", "x", x, [null, null, null, null]);
  const [batch, inner, height, width] = x.shape as [number, number, number, number];
  const channels = options.channels ?? inner;
  if (channels < inner || divisor === 0) {
    throw new TypeError(
      `nchwToNhwc: x (${x.label}) is [${x.shape}] for ${channels} channels, divided by ${divisor}`,
    );
  }
  const y = rec.alloc([batch, height, width, channels], label);
  const count = elements(y.shape);
  rec.dispatch({
    label: `nchwToNhwc/${label}`,
    kernel,
    bindings: { x, y },
    params: {
      count,
      channels: inner,
      pixels: height * width,
      padded_channels: channels,
      divisor,
      shift,
    },
    grid: flatGrid(count),
  });
  return y;
}

/** The decoder's input, (B, h, w, C): `latents / scaling_factor + shift_factor`. */
export function latentsToNhwc(rec: Recorder, options: LatentsToNhwcOptions): Tensor {
  const { latents, ...rest } = options;
  return nchwToNhwc(rec, { x: latents, ...rest });
}

/** The encoder's input, (B, H, W, channels). */
export function imageToNhwc(rec: Recorder, options: ImageToNhwcOptions): Tensor {
  return nchwToNhwc(rec, options);
}

export const nchwToNhwcUses: readonly KernelUse[] = [{ kernel, specialisations: [{}] }];
