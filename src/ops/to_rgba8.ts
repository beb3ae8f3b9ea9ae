import source from "../../kernels/to_rgba8.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";

export interface ToRgba8Options {
  /** (B, H, W, 3), -1 black and 1 white. */
  readonly x: Tensor;
  readonly label: string;
}

const kernel = defineKernel("to_rgba8", source);

/** Decoded images as opaque 8-bit RGBA, u32 (B, H, W), red in the low byte. */
export function toRgba8(rec: Recorder, { x, label }: ToRgba8Options): Tensor {
  checkTensor("toRgba8", "x", x, [null, null, null, 3]);
  const [batch, height, width] = x.shape as [number, number, number, number];
  const y = rec.alloc([batch, height, width], label, "u32");
  const count = batch * height * width;
  rec.dispatch({
    label: `toRgba8/${label}`,
    kernel,
    bindings: { x, y },
    params: { count },
    grid: flatGrid(count),
  });
  return y;
}

export const toRgba8Uses: readonly KernelUse[] = [{ kernel, specialisations: [{}] }];
