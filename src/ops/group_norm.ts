import applySource from "../../kernels/group_norm_apply.wgsl" with { type: "text" };
import applyTextureSource from "../../kernels/group_norm_apply_texture.wgsl" with { type: "text" };
import joinSource from "../../kernels/group_norm_join.wgsl" with { type: "text" };
import stripsSource from "../../kernels/group_norm_strips.wgsl" with { type: "text" };
import stripsTextureSource from "../../kernels/group_norm_strips_texture.wgsl" with {
  type: "text",
};
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel, type Kernel, type Specialisation } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { checkChannels, checkTensor } from "./check.ts";
import type { KernelUse } from "./kernel_use.ts";
import { copyRows, rowTexture } from "./texture_rows.ts";

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
  texture: defineKernel("group_norm_strips_texture", stripsTextureSource),
};
const applyKernels = {
  buffer: defineKernel("group_norm_apply", applySource),
  texture: defineKernel("group_norm_apply_texture", applyTextureSource),
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
  overStrips(rec, x, strip, {
    label: `groupNorm/${label}/strips`,
    kernels: stripsKernels,
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
  overStrips(rec, x, applyPixels, {
    label: `groupNorm/${label}`,
    kernels: applyKernels,
    specialise: { override: { SILU: silu } },
    bindings: { moments, bias, y },
  });
  return y;
}

interface StripsPass {
  readonly label: string;
  readonly kernels: { readonly buffer: Kernel; readonly texture: Kernel };
  readonly specialise?: Specialisation;
  /** All but x. */
  readonly bindings: Readonly<Record<string, Tensor>>;
}

/** An invocation for four channels of every strip of `strip` pixels of x [B, H, W, C]. */
function overStrips(rec: Recorder, x: Tensor, strip: number, pass: StripsPass): void {
  const { label, kernels, specialise = {}, bindings } = pass;
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const pixels = height * width;
  const channels4 = channels / 4;
  const perSample = Math.ceil(pixels / strip);
  const strips = batch * perSample;
  const sizes = { pixels, channels4, strip_pixels: strip, strip_count: perSample };
  if (!rec.gpu.prefersTextures || channels % 8 !== 0) {
    rec.dispatch({
      label,
      kernel: kernels.buffer,
      specialise,
      bindings: { x, ...bindings },
      params: { ...sizes, count: strips * channels4 },
      grid: flatGrid(strips * channels4),
    });
    return;
  }
  /** Of all samples' pixels, the first of a strip. */
  const firstPixel = (index: number) =>
    Math.floor(index / perSample) * pixels + (index % perSample) * strip;
  const layout = rowTexture(rec, channels, strip);
  for (let first = 0; first < strips;) {
    // As many strips as the texture holds; the last of a sample may be short.
    let end = first + 1;
    while (end < strips && firstPixel(end + 1) - firstPixel(first) <= layout.rowsAtOnce) end++;
    const start = firstPixel(first);
    copyRows(rec, x, layout, start, firstPixel(end) - start);
    rec.dispatch({
      label,
      kernel: kernels.texture,
      specialise,
      bindings: { x: layout.texture, ...bindings },
      params: {
        ...sizes,
        count: (end - first) * channels4,
        first_strip: first,
        first_pixel: start,
        pixel_shift: layout.shift,
      },
      grid: flatGrid((end - first) * channels4),
    });
    first = end;
  }
}

export const groupNormUses: readonly KernelUse[] = [
  { kernel: joinKernel, specialisations: [{}] },
  ...Object.values(stripsKernels).map((kernel) => ({ kernel, specialisations: [{}] })),
  ...Object.values(applyKernels).map((kernel) => ({
    kernel,
    specialisations: [false, true].map((SILU) => ({ override: { SILU } })),
  })),
];
