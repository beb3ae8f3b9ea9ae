import source from "../../../kernels/linear_texture.wgsl" with { type: "text" };
import quantizedSource from "../../../kernels/linear_texture_quantized.wgsl" with { type: "text" };
import { defineKernel, type Specialisation } from "../../gpu/kernel.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { quantBits, type QuantType } from "../../gpu/quantized.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { Candidate } from "../../gpu/tuning.ts";
import type { KernelUse } from "../support/kernel_use.ts";
import { type MatrixPart, weightDType } from "../support/matrix.ts";
import { copyRows, rowTexture } from "./texture_rows.ts";

const kernel = defineKernel("linear_texture", source);
const quantizedKernel = defineKernel("linear_texture_quantized", quantizedSource);
const lanes = 16;

/** Rows x columns of outputs an invocation; vectors: a few rows, one for each sample. */
const tiles = {
  vectors: [4, 4],
  narrow: [16, 4],
  wide: [16, 16],
  large: [16, 32],
} as const satisfies Record<string, readonly [number, number]>;
type TileName = keyof typeof tiles;
type Tile = readonly [number, number];

/** Columns from which on the narrow tile would read x too often. */
const wideColumns = 2 * lanes * tiles.narrow[1] + 1;
/** Products per sample from which on the large tile's longer compilation pays. */
const largeProducts = 2 ** 29;

const allTiles: readonly Tile[] = Object.values(tiles);

export const linearTextureUses: KernelUse[] = [
  { kernel, specialisations: allTiles.map((tile) => form(tile)) },
  {
    kernel: quantizedKernel,
    specialisations: allTiles.flatMap((tile) => [form(tile, "q8_0"), form(tile, "q4_0")]),
  },
];

interface TileCandidate extends Candidate {
  readonly tile: Tile;
}

function form([threadM, threadN]: Tile, type?: QuantType): Specialisation {
  return { const: { THREAD_M: threadM, THREAD_N: threadN, ...type && { BITS: quantBits[type] } } };
}

/**
 * Tiles worth a trial, the likely best first. Which one computes an output has no influence on its
 * bits.
 */
function likelyTiles(rowsPerSample: number, columns: number, inputs: number): TileName[] {
  if (rowsPerSample === 1) return ["vectors"];
  const products = rowsPerSample * columns * inputs;
  if (columns < wideColumns) return ["narrow", "wide"];
  if (products < largeProducts / 8) {
    return columns < 2 * wideColumns ? ["wide", "narrow"] : ["wide"];
  }
  return products < largeProducts ? ["wide", "large"] : ["large", "wide"];
}

export interface LinearTextureOptions {
  /** [rows, inputs]. */
  readonly x: Tensor;
  readonly rows: number;
  readonly rowsPerSample: number;
  /** Values of a row that are multiplied, rounded up to a multiple of 8. */
  readonly inputs: number;
  readonly parts: readonly MatrixPart[];
  readonly bias: Tensor;
  readonly gate: Tensor;
  readonly y: Tensor;
  /** The kernel's further parameters; offsets are those of the first column. */
  readonly params: {
    readonly y_stride: number;
    readonly gate_offset: number;
    readonly gate_stride: number;
    readonly has_bias: number;
    readonly has_gate: number;
    readonly accumulate: number;
    readonly activation: number;
  };
  readonly label: string;
  /** Default: by the device's tuner. */
  readonly tile?: Tile;
}

/** The product with a weight in textures: as many rows of x at a time as its own texture holds. */
export function linearTexture(rec: Recorder, options: LinearTextureOptions): void {
  const { x, rows, rowsPerSample, inputs, parts, bias, gate, y, params, label } = options;
  const layout = rowTexture(rec, inputs, 16);
  for (let first = 0; first < rows; first += layout.rowsAtOnce) {
    const count = Math.min(layout.rowsAtOnce, rows - first);
    copyRows(rec, x, layout, first, count);
    for (const part of parts) {
      const { quantized } = part;
      const tile = options.tile ?? chooseTile(rec, options, part);
      rec.dispatch({
        label: `linear/${label}`,
        kernel: quantized ? quantizedKernel : kernel,
        specialise: form(tile, quantized?.type),
        bindings: {
          ...quantized && { scales: quantized.scales },
          ...{ x: layout.texture, w: part.texture!, bias, gate, y },
        },
        params: {
          ...params,
          rows: count,
          first_row: first,
          row_shift: layout.shift,
          n: part.rows,
          k8: inputs / 8,
          y_column: part.rowStart,
          rows_per_sample: rowsPerSample,
          gate_offset: params.gate_offset + part.rowStart,
          bias_offset: part.rowStart,
        },
        grid: [Math.ceil(count / tile[0]), Math.ceil(part.rows / (lanes * tile[1]))],
      });
    }
  }
}

function chooseTile(rec: Recorder, options: LinearTextureOptions, part: MatrixPart): Tile {
  const { rowsPerSample: rows, inputs, params } = options;
  return rec.choose({
    key: `linear ${part.rows}x${inputs} ${weightDType(part)} texture @${rows}`,
    work: rows * part.rows * inputs,
    candidates: likelyTiles(rows, part.rows, inputs).map((name): TileCandidate => ({
      name,
      tile: tiles[name],
      kernel: part.quantized ? quantizedKernel : kernel,
      specialise: form(tiles[name], part.quantized?.type),
    })),
    record: (trial, { tile }) => {
      const columns = Math.ceil(part.rows / 4) * 4;
      const none = { gate_offset: 0, gate_stride: 0, has_bias: 0, has_gate: 0, accumulate: 0 };
      linearTexture(trial, {
        ...options,
        x: trial.alloc([rows, inputs], "x"),
        rows,
        parts: [{ ...part, rowStart: 0 }],
        bias: trial.gpu.absent,
        gate: trial.gpu.absent,
        y: trial.alloc([rows, columns], "y"),
        params: { ...none, y_stride: columns, activation: params.activation },
        tile,
      });
    },
  }).tile;
}
