import applySource from "../../kernels/group_norm_apply.wgsl" with { type: "text" };
import joinSource from "../../kernels/group_norm_join.wgsl" with { type: "text" };
import stripsSource from "../../kernels/group_norm_strips.wgsl" with { type: "text" };
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { checkChannels, checkTensor } from "./check.ts";
import { flatGrid } from "./flat_grid.ts";
import type { KernelUse } from "./kernel_use.ts";

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

const stripsKernel = defineKernel("group_norm_strips", stripsSource);
const joinKernel = defineKernel("group_norm_join", joinSource);
const applyKernel = defineKernel("group_norm_apply", applySource);

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
  const channels4 = channels / 4;

  // About as many strips as pixels in one: both passes over them stay short.
  const strip = Math.ceil(pixels / Math.min(512, Math.ceil(Math.sqrt(pixels))));
  const stripCount = Math.ceil(pixels / strip);
  const strips = rec.alloc([batch, stripCount, 2, channels], `${label}/strips`);
  const stripInvocations = batch * stripCount * channels4;
  rec.dispatch({
    label: `groupNorm/${label}/strips`,
    kernel: stripsKernel,
    bindings: { x, strips },
    params: {
      count: stripInvocations,
      pixels,
      channels4,
      strip_pixels: strip,
      strip_count: stripCount,
    },
    grid: flatGrid(stripInvocations),
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
    grid: [groups, batch, 1],
  });
  rec.release(strips);

  const y = rec.alloc(x.shape, label);
  const applyCount = Math.ceil(pixels / applyPixels);
  const applyInvocations = batch * applyCount * channels4;
  rec.dispatch({
    label: `groupNorm/${label}`,
    kernel: applyKernel,
    specialise: { override: { SILU: silu } },
    bindings: { x, moments, bias, y },
    params: {
      count: applyInvocations,
      pixels,
      channels4,
      strip_pixels: applyPixels,
      strip_count: applyCount,
    },
    grid: flatGrid(applyInvocations),
  });
  rec.release(moments);
  return y;
}

export const groupNormUses: readonly KernelUse[] = [
  { kernel: stripsKernel, specialisations: [{}] },
  { kernel: joinKernel, specialisations: [{}] },
  {
    kernel: applyKernel,
    specialisations: [false, true].map((SILU) => ({ override: { SILU } })),
  },
];
