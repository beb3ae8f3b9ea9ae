/** The kernels of the linear op, and which of them a product may take. */
import tileSource from "../../kernels/linear_tile.wgsl" with { type: "text" };
import vectorSource from "../../kernels/linear_vector.wgsl" with { type: "text" };
import workgroupSource from "../../kernels/linear_workgroup.wgsl" with { type: "text" };
import type { AdapterSummary } from "../gpu/device.ts";
import { defineKernel, type Kernel } from "../gpu/kernel.ts";
import type { WeightDType } from "../gpu/quantized.ts";
import { halfTiles } from "./kernel_use.ts";
import { type LaneLayout, laneLayout } from "./lane_layout.ts";

export interface LinearVariant {
  readonly name: string;
  readonly kernel: Kernel;
  /** Its `const`s. */
  readonly form: Readonly<Record<string, number>>;
  /** Its `alias`es. */
  readonly alias?: Readonly<Record<string, string>>;
  /** Types of weights that it is used with. */
  readonly dtypes: readonly WeightDType[];
  layout(rows: number, columns: number): LaneLayout;
}

export interface LinearShape {
  /** Of the whole batch. */
  readonly rows: number;
  readonly rowsPerSample: number;
  readonly columns: number;
  readonly inputs: number;
  readonly dtype: WeightDType;
}

const tile = defineKernel("linear_tile", tileSource);
const workgroup = defineKernel("linear_workgroup", workgroupSource);
const vector = defineKernel("linear_vector", vectorSource);
const all: readonly WeightDType[] = ["f32", "f16", "q8_0", "q4_0"];

/** Large register tiles: for adapters that run invocations as SIMD lanes of a CPU. */
function tileVariant(threadM: number, threadN: number, dtypes = all): LinearVariant {
  return {
    name: `tile ${threadM}x${threadN}`,
    kernel: tile,
    form: { THREAD_M: threadM, THREAD_N: threadN },
    dtypes,
    layout: (rows, columns) => laneLayout([rows, columns], [threadM, threadN], 16),
  };
}

/** Tiles in workgroup memory: for GPUs. "half": f16 weights are f16 there, too. */
function workgroupVariant(lanes: number, half = false): LinearVariant {
  const extent = 8 * lanes;
  return {
    name: `workgroup ${extent}x${extent}${half ? " half" : ""}`,
    kernel: workgroup,
    form: { LANES: lanes },
    ...half && { alias: halfTiles },
    dtypes: half ? ["f16"] : all,
    layout: (rows, columns) => ({
      lanesN: lanes,
      groupsM: Math.ceil(rows / extent),
      groupsN: Math.ceil(columns / extent),
    }),
  };
}

/** Single rows on GPUs. */
function vectorVariant(rowsAtOnce: number): LinearVariant {
  return {
    name: `vector ${rowsAtOnce}`,
    kernel: vector,
    form: { THREAD_M: rowsAtOnce },
    dtypes: all,
    layout: (rows, columns) => ({
      lanesN: 1,
      groupsM: Math.ceil(rows / rowsAtOnce),
      groupsN: Math.ceil(columns / 4),
    }),
  };
}

// The rows that share a read of the weight: of one product, whatever its batch, all have the same
// order of sums.
const tileVectors = [tileVariant(1, 4), tileVariant(2, 4), tileVariant(4, 4)];
const vectors = [vectorVariant(1), vectorVariant(2), vectorVariant(4)];
const smallTile = tileVariant(16, 16);
const largeTile = tileVariant(16, 32, ["f16"]);
const smallGroups = workgroupVariant(8);
const largeGroups = workgroupVariant(16);
const smallHalfGroups = workgroupVariant(8, true);
const largeHalfGroups = workgroupVariant(16, true);

export const variants: readonly LinearVariant[] = [
  ...tileVectors,
  smallTile,
  largeTile,
  ...vectors,
  smallGroups,
  largeGroups,
  smallHalfGroups,
  largeHalfGroups,
];

/** Rows per sample up to which the kernel for single rows is worth a trial. */
const fewRows = 16;

/** Products per sample from which on the large register tile's longer compilation pays. */
const largeProducts = 2 ** 27;

/**
 * Variants for a product, the likely best first. They depend on the weight and the rows of one
 * sample; the batch decides only between variants whose results have the same bits.
 */
export function likelyVariants(adapter: AdapterSummary, shape: LinearShape): LinearVariant[] {
  const { rows, rowsPerSample, columns, inputs, dtype } = shape;
  if (rowsPerSample === 1) {
    const list = adapter.isSoftware ? tileVectors : vectors;
    return [list[Math.min(2, Math.ceil(Math.log2(rows)))]!];
  }
  const products = rowsPerSample * columns * inputs;
  if (adapter.isSoftware) {
    if (dtype !== "f16" || products < largeProducts / 8) return [smallTile];
    return products >= largeProducts ? [largeTile, smallTile] : [smallTile, largeTile];
  }
  // Enough workgroups for a GPU's cores, and no more than a third of a tile wasted.
  const isLarge = rowsPerSample * columns >= 2 ** 20 && rowsPerSample >= 256;
  if (rowsPerSample <= fewRows) return [smallGroups, vectors.at(-1)!];
  const groups = isLarge ? [largeGroups, smallGroups] : [smallGroups, largeGroups];
  const half = adapter.shaderF16 && dtype === "f16";
  return half ? [...groups, largeHalfGroups, smallHalfGroups] : groups;
}
