/** The kernels of the convolution, and which of them a layer may take. */
import threeSource from "../../kernels/conv2d_3x3_tile.wgsl" with { type: "text" };
import tileSource from "../../kernels/conv2d_tile.wgsl" with { type: "text" };
import workgroupSource from "../../kernels/conv2d_workgroup.wgsl" with { type: "text" };
import type { AdapterSummary } from "../gpu/device.ts";
import { defineKernel, type Kernel } from "../gpu/kernel.ts";
import type { DType } from "../gpu/tensor.ts";
import { halfTiles } from "./kernel_use.ts";
import { type LaneLayout, laneLayout } from "./lane_layout.ts";

export interface Conv2dVariant {
  readonly name: string;
  readonly kernel: Kernel;
  /** Its `const`s. */
  readonly form: Readonly<Record<string, number | boolean>>;
  /** Its `alias`es. */
  readonly alias?: Readonly<Record<string, string>>;
  /** Of `lines` lines of `width` pixels with `outputs` outputs each. */
  layout(lines: number, width: number, outputs: number): LaneLayout;
}

/** What the choice depends on. */
export interface Conv2dShape {
  readonly dtype: DType;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: "same" | "asymmetric";
  /** Of one sample. */
  readonly pixels: number;
  readonly outputs: number;
}

const tile = defineKernel("conv2d_tile", tileSource);
/** 3 x 3, stride 1: nearly all of the VAE's work. */
const three = defineKernel("conv2d_3x3_tile", threeSource);
const workgroup = defineKernel("conv2d_workgroup", workgroupSource);

/** Register tiles of pixels of one line: for adapters that run invocations as SIMD lanes of a CPU. */
function tileVariant(
  kernel: Kernel,
  [threadM, threadN]: readonly [number, number],
  weightF16?: boolean,
): Conv2dVariant {
  const form = { THREAD_M: threadM, THREAD_N: threadN };
  return {
    name: `tile ${threadM}x${threadN}`,
    kernel,
    form: weightF16 === undefined ? form : { ...form, WEIGHT_F16: weightF16 },
    layout: (lines, width, outputs) =>
      laneLayout([lines * Math.ceil(width / threadM), outputs], [1, threadN], 16),
  };
}

/** Tiles in workgroup memory: for GPUs. "half": f16 weights are f16 there, too. */
function workgroupVariant(lanes: number, weightF16: boolean, half = false): Conv2dVariant {
  const extent = 8 * lanes;
  return {
    name: `workgroup ${extent}x${extent}${half ? " half" : ""}`,
    kernel: workgroup,
    form: { LANES: lanes, WEIGHT_F16: weightF16 },
    ...half && { alias: halfTiles },
    layout: (lines, width, outputs) => ({
      lanesN: lanes,
      groupsM: Math.ceil(lines * width / extent),
      groupsN: Math.ceil(outputs / extent),
    }),
  };
}

const threeTile = tileVariant(three, [16, 16]);
const tiles = { f16: tileVariant(tile, [4, 4], true), f32: tileVariant(tile, [4, 4], false) };
const smallGroups = { f16: workgroupVariant(8, true), f32: workgroupVariant(8, false) };
const largeGroups = { f16: workgroupVariant(16, true), f32: workgroupVariant(16, false) };
const halfGroups = [workgroupVariant(16, true, true), workgroupVariant(8, true, true)];

export const variants: readonly Conv2dVariant[] = [
  threeTile,
  ...[tiles, smallGroups, largeGroups].flatMap(({ f16, f32 }) => [f16, f32]),
  ...halfGroups,
];

/**
 * Variants for a layer, the likely best first: they depend on the weight and the size of one sample,
 * never on the batch.
 */
export function likelyVariants(adapter: AdapterSummary, shape: Conv2dShape): Conv2dVariant[] {
  const { dtype, kernel, stride, padding, pixels, outputs } = shape;
  const type = dtype === "f16" ? "f16" : "f32";
  if (!adapter.isSoftware) {
    // Enough workgroups for a GPU's cores.
    const isLarge = pixels * outputs >= 2 ** 20 && outputs >= 128;
    const groups = isLarge ? [largeGroups, smallGroups] : [smallGroups, largeGroups];
    const half = adapter.shaderF16 && type === "f16" ? halfGroups : [];
    return [...groups.map((group) => group[type]), ...half];
  }
  // Fewer outputs would leave most of the large tile idle, and it compiles for seconds.
  const fills = outputs >= Number(threeTile.form.THREAD_N);
  const isThree = fills && kernel === 3 && stride === 1 && padding === "same";
  return [isThree && dtype === "f16" ? threeTile : tiles[type]];
}
