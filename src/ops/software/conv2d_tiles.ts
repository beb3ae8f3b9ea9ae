/** Convolutions from buffers on software adapters: register tiles of pixels of one line. */
import threeSource from "../../../kernels/conv2d_3x3_tile.wgsl" with { type: "text" };
import tileSource from "../../../kernels/conv2d_tile.wgsl" with { type: "text" };
import { defineKernel, type Kernel } from "../../gpu/kernel.ts";
import type { Conv2dShape, Conv2dVariant } from "../support/conv2d_variant.ts";
import { laneLayout } from "./lane_layout.ts";

function tile(kernel: Kernel, threadM: number, threadN: number, flags = {}): Conv2dVariant {
  return {
    name: `tile ${threadM}x${threadN}`,
    kernel,
    specialise: { const: { THREAD_M: threadM, THREAD_N: threadN, ...flags } },
    layout: (lines, width, outputs) =>
      laneLayout([lines * Math.ceil(width / threadM), outputs], [1, threadN], 16),
  };
}

const any = defineKernel("conv2d_tile", tileSource);
const small = {
  f16: tile(any, 4, 4, { WEIGHT_F16: true }),
  f32: tile(any, 4, 4, { WEIGHT_F16: false }),
};
/** 3 x 3, stride 1: nearly all of the VAE's work. Fewer outputs would leave most of it idle. */
const leastOutputs = 16;
const three = tile(defineKernel("conv2d_3x3_tile", threeSource), 16, leastOutputs);

export const conv2dTiles: readonly Conv2dVariant[] = [three, small.f16, small.f32];

export function likelyTiles(shape: Conv2dShape): Conv2dVariant[] {
  const { dtype, kernel, stride, padding, outputs } = shape;
  if (dtype !== "f16") return [small.f32];
  const isThree = outputs >= leastOutputs && kernel === 3 && stride === 1 && padding === "same";
  return [isThree ? three : small.f16];
}
