import source from "../../kernels/patchify.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";

export interface PatchifyOptions {
  /** (B, C, h, w); h and w multiples of `patch`. */
  readonly latents: Tensor;
  readonly patch: number;
  readonly label: string;
}

const kernel = defineKernel("patchify", source);

/** Latents as rows of patches, (B, (h / patch) * (w / patch), C * patch * patch), columns (c, y, x). */
export function patchify(rec: Recorder, { latents, patch, label }: PatchifyOptions): Tensor {
  checkTensor("patchify", "latents", latents, [null, null, null, null]);
  const [batch, channels, height, width] = latents.shape as [number, number, number, number];
  if (height % patch !== 0 || width % patch !== 0) {
    throw new TypeError(`patchify: latents are [${latents.shape}], not multiples of ${patch}`);
  }
  const tokens = (height / patch) * (width / patch);
  const y = rec.alloc([batch, tokens, channels * patch * patch], label);
  const count = elements(y.shape);
  rec.dispatch({
    label: `patchify/${label}`,
    kernel,
    bindings: { latents, y },
    params: { count, channels, height, width, patch_size: patch },
    grid: flatGrid(count),
  });
  return y;
}

export const patchifyUses: readonly KernelUse[] = [{ kernel, specialisations: [{}] }];
