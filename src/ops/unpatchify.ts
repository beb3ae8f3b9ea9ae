import source from "../../kernels/unpatchify.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";

export interface UnpatchifyOptions {
  /** (B, height * width, patch * patch * channels), columns (y, x, c) as diffusers orders them. */
  readonly x: Tensor;
  readonly patch: number;
  readonly channels: number;
  /** In patches. */
  readonly height: number;
  readonly width: number;
  readonly label: string;
}

const kernel = defineKernel("unpatchify", source);

/** Rows of patches back to (B, channels, height * patch, width * patch). */
export function unpatchify(rec: Recorder, options: UnpatchifyOptions): Tensor {
  const { x, patch, channels, height, width, label } = options;
  checkTensor("unpatchify", "x", x, [null, height * width, patch * patch * channels]);
  const y = rec.alloc([x.shape[0]!, channels, height * patch, width * patch], label);
  const count = elements(y.shape);
  rec.dispatch({
    label: `unpatchify/${label}`,
    kernel,
    bindings: { x, y },
    params: { count, channels, height, width, patch_size: patch },
    grid: flatGrid(count),
  });
  return y;
}

export const unpatchifyUses: readonly KernelUse[] = [{ kernel, specialisations: [{}] }];
