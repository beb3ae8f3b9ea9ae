/** Products from buffers on software adapters: large register tiles. */
import source from "../../../kernels/linear_tile.wgsl" with { type: "text" };
import { defineKernel } from "../../gpu/kernel.ts";
import type { WeightDType } from "../../gpu/quantized.ts";
import {
  linearForm,
  type LinearShape,
  type LinearVariant,
  sharing,
} from "../support/linear_variant.ts";
import { laneLayout } from "./lane_layout.ts";

const kernel = defineKernel("linear_tile", source);

/** Products per sample from which on the large register tile's longer compilation pays. */
const largeProducts = 2 ** 27;

function tile(threadM: number, threadN: number, dtype: WeightDType): LinearVariant {
  return {
    name: `tile ${threadM}x${threadN}`,
    kernel,
    specialise: linearForm({ THREAD_M: threadM, THREAD_N: threadN }, dtype),
    layout: (rows, columns) => laneLayout([rows, columns], [threadM, threadN], 16),
  };
}

// The rows that share a read of the weight: of one product, whatever its batch, all have the same
// order of sums.
const vectors = [1, 2, 4] as const;
const small = (dtype: WeightDType) => tile(16, 16, dtype);
const large = () => tile(16, 32, "f16");

export function linearTiles(dtype: WeightDType): LinearVariant[] {
  const tiles = [...vectors.map((rows) => tile(rows, 4, dtype)), small(dtype)];
  return dtype === "f16" ? [...tiles, large()] : tiles;
}

/** The likely best first. */
export function likelyTiles(shape: LinearShape): LinearVariant[] {
  const { rows, rowsPerSample, columns, inputs, dtype } = shape;
  if (rowsPerSample === 1) return [tile(sharing(vectors, rows), 4, dtype)];
  const products = rowsPerSample * columns * inputs;
  if (dtype !== "f16" || products < largeProducts / 8) return [small(dtype)];
  return products >= largeProducts ? [large(), small(dtype)] : [small(dtype), large()];
}
