import applySource from "../../kernels/group_norm_apply.wgsl" with { type: "text" };
import joinSource from "../../kernels/group_norm_join.wgsl" with { type: "text" };
import stripsSource from "../../kernels/group_norm_strips.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel, type Kernel } from "../gpu/kernel.ts";
import type { Dispatch } from "../gpu/program.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { checkChannels, checkTensor } from "./support/check.ts";
import { applyTexture, overTexturedStrips, stripsTexture } from "./software/group_norm_texture.ts";
import type { KernelUse } from "./support/kernel_use.ts";

export interface GroupNormOptions {
  /** (B, H, W, C); C a multiple of 4. */
  readonly x: Tensor;
  /** Divides C. */
  readonly groups: number;
  /** (C) */
  readonly weight: Tensor;
  /** (C) */
  readonly bias: Tensor;
  readonly eps: number;
  /** Applies silu to the result in the same pass. */
  readonly silu: boolean;
  readonly label: string;
}

const joinKernel = defineKernel("group_norm_join", joinSource);
/** The passes over all pixels read x from buffers, or from textures where the device prefers them. */
const stripsKernels = {
  buffer: defineKernel("group_norm_strips", stripsSource),
  texture: stripsTexture,
};
const applyKernels = {
  buffer: defineKernel("group_norm_apply", applySource),
  texture: applyTexture,
};

/** Pixels that one invocation of the last pass handles, so that mean and scale are read rarely. */
const applyPixels = 16;

/** GroupNorm over (H, W, C / groups), channels last. */
export function groupNorm(rec: Recorder, options: GroupNormOptions): Tensor {
  const { x, groups, weight, bias, eps, silu, label } = options;
  checkTensor("groupNorm", "x", x, [null, null, null, null]);
  const channels = checkChannels("groupNorm", "x", x);
  checkTensor("groupNorm", "weight", weight, [channels]);
  checkTensor("groupNorm", "bias", bias, [channels]);
  if (!Number.isInteger(channels / groups)) {
    throw new TypeError(`groupNorm: x (${x.label}) has ${channels} channels for ${groups} groups`);
  }
  const [batch, height, width] = x.shape as [number, number, number, number];
  const pixels = height * width;

  // About as many strips as pixels in one: both passes over them stay short.
  const strip = Math.ceil(pixels / Math.min(512, Math.ceil(Math.sqrt(pixels))));
  const stripCount = Math.ceil(pixels / strip);
  const strips = rec.alloc([batch, stripCount, 2, channels], `${label}/strips`);
  overStrips(rec, x, strip, stripsKernels, {
    label: `groupNorm/${label}/strips`,
    bindings: { strips },
  });

  const moments = rec.alloc([batch, 2, channels], `${label}/moments`);
  rec.dispatch({
    label: `groupNorm/${label}/join`,
    kernel: joinKernel,
    bindings: { strips, weight, moments },
    params: {
      channels,
      group_channels: channels / groups,
      pixels,
      strip_pixels: strip,
      strip_count: stripCount,
      eps,
    },
    grid: [groups, batch],
  });

  const y = rec.alloc(x.shape, label);
  overStrips(rec, x, applyPixels, applyKernels, {
    label: `groupNorm/${label}`,
    specialise: { override: { SILU: silu } },
    bindings: { moments, bias, y },
  });
  return y;
}

/** An invocation for four channels of every strip of `strip` pixels of x [B, H, W, C]. */
function overStrips(
  rec: Recorder,
  x: Tensor,
  strip: number,
  kernels: { readonly buffer: Kernel; readonly texture: Kernel },
  pass: Omit<Dispatch, "kernel" | "params" | "grid">,
): void {
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const channels4 = channels / 4;
  const pixels = height * width;
  const perSample = Math.ceil(pixels / strip);
  const sizes = { pixels, channels4, strip_pixels: strip, strip_count: perSample };
  if (rec.gpu.prefersTextures && channels % 8 === 0) {
    overTexturedStrips(rec, x, sizes, { ...pass, kernel: kernels.texture });
    return;
  }
  const count = batch * perSample * channels4;
  rec.dispatch({
    ...pass,
    kernel: kernels.buffer,
    bindings: { ...pass.bindings, x },
    params: { ...sizes, count },
    grid: flatGrid(count),
  });
}

export const groupNormUses: readonly KernelUse[] = [
  { kernel: joinKernel, specialisations: [{}] },
  ...Object.values(stripsKernels).map((kernel) => ({ kernel, specialisations: [{}] })),
  ...Object.values(applyKernels).map((kernel) => ({
    kernel,
    specialisations: [false, true].map((SILU) => ({ override: { SILU } })),
  })),
];
