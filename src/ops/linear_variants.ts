/** The kernels of the linear op, and which of them a product may take. */
import vectorSource from "../../kernels/linear_vector.wgsl" with { type: "text" };
import workgroupSource from "../../kernels/linear_workgroup.wgsl" with { type: "text" };
import { defineKernel } from "../gpu/kernel.ts";
import type { WeightDType } from "../gpu/quantized.ts";
import type { RecordingDevice } from "../gpu/recorder.ts";
import { likelyTiles, linearTiles } from "./software/linear_tiles.ts";
import { halfTiles } from "./support/kernel_use.ts";
import {
  linearForm,
  type LinearShape,
  type LinearVariant,
  sharing,
} from "./support/linear_variant.ts";

const workgroup = defineKernel("linear_workgroup", workgroupSource);
const vector = defineKernel("linear_vector", vectorSource);

/** Rows per sample up to which the kernel for single rows is worth a trial. */
const fewRows = 16;

/** Tiles in workgroup memory. "half": f16 weights are f16 there, too. */
function workgroups(lanes: number, dtype: WeightDType, half = false): LinearVariant {
  const extent = 8 * lanes;
  return {
    name: `workgroup ${extent}x${extent}${half ? " half" : ""}`,
    kernel: workgroup,
    specialise: linearForm({ LANES: lanes }, dtype, half ? halfTiles : undefined),
    layout: (rows, columns) => ({
      lanesN: lanes,
      groupsM: Math.ceil(rows / extent),
      groupsN: Math.ceil(columns / extent),
    }),
  };
}

/** Single rows, some of which share a read of the weight: all have the same order of sums. */
function vectors(rowsAtOnce: number, dtype: WeightDType): LinearVariant {
  return {
    name: `vector ${rowsAtOnce}`,
    kernel: vector,
    specialise: linearForm({ THREAD_M: rowsAtOnce }, dtype),
    layout: (rows, columns) => ({
      lanesN: 1,
      groupsM: Math.ceil(rows / rowsAtOnce),
      groupsN: Math.ceil(columns / 4),
    }),
  };
}

const rowCounts = [1, 2, 4] as const;
const laneCounts = [16, 8];

export const variants: readonly LinearVariant[] = [
  ...(["f32", "f16", "q8_0", "q4_0"] as const).flatMap((dtype) => [
    ...linearTiles(dtype),
    ...rowCounts.map((rows) => vectors(rows, dtype)),
    ...laneCounts.map((lanes) => workgroups(lanes, dtype)),
  ]),
  ...laneCounts.map((lanes) => workgroups(lanes, "f16", true)),
];

/**
 * Variants for a product, the likely best first. They depend on the weight and the rows of one
 * sample; the batch decides only between variants whose results have the same bits.
 */
export function likelyVariants(
  { family, adapter }: Pick<RecordingDevice, "family" | "adapter">,
  shape: LinearShape,
): LinearVariant[] {
  if (family === "software") return likelyTiles(shape);
  const { rows, rowsPerSample, columns, dtype } = shape;
  if (rowsPerSample === 1) return [vectors(sharing(rowCounts, rows), dtype)];
  if (rowsPerSample <= fewRows) return [workgroups(8, dtype), vectors(4, dtype)];
  // Enough workgroups for a GPU's cores, and no more than a third of a tile wasted.
  const isLarge = rowsPerSample * columns >= 2 ** 20 && rowsPerSample >= 256;
  const plain = (isLarge ? [16, 8] : [8, 16]).map((lanes) => workgroups(lanes, dtype));
  if (!adapter.shaderF16 || dtype !== "f16") return plain;
  return [...plain, ...laneCounts.map((lanes) => workgroups(lanes, dtype, true))];
}
