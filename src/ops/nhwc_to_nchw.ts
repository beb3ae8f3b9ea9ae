import source from "../../kernels/nhwc_to_nchw.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";

export interface NhwcToNchwOptions {
  /** (B, H, W, C) */
  readonly x: Tensor;
  readonly label: string;
}

const kernel = defineKernel("nhwc_to_nchw", source);

/** Channels last to channels first, (B, C, H, W). */
export function nhwcToNchw(rec: Recorder, { x, label }: NhwcToNchwOptions): Tensor {
  checkTensor("nhwcToNchw", "x", x, [null, null, null, null]);
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const y = rec.alloc([batch, channels, height, width], label);
  const count = elements(y.shape);
  rec.dispatch({
    label: `nhwcToNchw/${label}`,
    kernel,
    bindings: { x, y },
    params: { count, channels, pixels: height * width },
    grid: flatGrid(count),
  });
  return y;
}

export const nhwcToNchwUses: readonly KernelUse[] = [{ kernel, specialisations: [{}] }];
