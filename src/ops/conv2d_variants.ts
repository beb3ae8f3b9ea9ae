/** The kernels of the convolution, and which of them a layer may take. */
import source from "../../kernels/conv2d_workgroup.wgsl" with { type: "text" };
import { defineKernel } from "../gpu/kernel.ts";
import type { RecordingDevice } from "../gpu/recorder.ts";
import { conv2dTiles, likelyTiles } from "./software/conv2d_tiles.ts";
import type { Conv2dShape, Conv2dVariant } from "./support/conv2d_variant.ts";
import { halfTiles } from "./support/kernel_use.ts";

const kernel = defineKernel("conv2d_workgroup", source);

/** Tiles in workgroup memory. "half": f16 weights are f16 there, too. */
function workgroups(lanes: number, weightF16: boolean, half = false): Conv2dVariant {
  const extent = 8 * lanes;
  return {
    name: `workgroup ${extent}x${extent}${half ? " half" : ""}`,
    kernel,
    specialise: { ...half && { alias: halfTiles }, const: { LANES: lanes, WEIGHT_F16: weightF16 } },
    layout: (lines, width, outputs) => ({
      lanesN: lanes,
      groupsM: Math.ceil(lines * width / extent),
      groupsN: Math.ceil(outputs / extent),
    }),
  };
}

const halves = [workgroups(16, true, true), workgroups(8, true, true)];

export const variants: readonly Conv2dVariant[] = [
  ...conv2dTiles,
  ...[16, 8].flatMap((lanes) => [workgroups(lanes, true), workgroups(lanes, false)]),
  ...halves,
];

/**
 * Variants for a layer, the likely best first: they depend on the weight and the size of one sample,
 * never on the batch.
 */
export function likelyVariants(
  { family, adapter }: Pick<RecordingDevice, "family" | "adapter">,
  shape: Conv2dShape,
): Conv2dVariant[] {
  if (family === "software") return likelyTiles(shape);
  const { dtype, pixels, outputs } = shape;
  // Enough workgroups for a GPU's cores.
  const isLarge = pixels * outputs >= 2 ** 20 && outputs >= 128;
  const plain = (isLarge ? [16, 8] : [8, 16]).map((lanes) => workgroups(lanes, dtype === "f16"));
  return adapter.shaderF16 && dtype === "f16" ? [...plain, ...halves] : plain;
}
