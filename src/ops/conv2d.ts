import tileSource from "../../kernels/conv2d_tile.wgsl" with { type: "text" };
import threeSource from "../../kernels/conv2d_3x3_tile.wgsl" with { type: "text" };
import { defineKernel, type Specialisation } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/program.ts";
import { elements, reshape, type Tensor } from "../gpu/tensor.ts";
import { add } from "./add.ts";
import { foldGrid } from "./fold_grid.ts";
import type { KernelUse } from "./kernel_use.ts";
import { laneLayout } from "./lane_layout.ts";
import type { MatrixPart } from "./matrix.ts";
import { resizeRows } from "./resize_rows.ts";

const tile = defineKernel("conv2d_tile", tileSource);

/** 3 x 3, stride 1: nearly all of the VAE's work. */
const three = defineKernel("conv2d_3x3_tile", threeSource);

/** Pixels x outputs an invocation. */
const anyTile = [4, 4] as const;
const threeTile = [16, 16] as const;

const threeForm: Specialisation = { const: { THREAD_M: threeTile[0], THREAD_N: threeTile[1] } };

export const conv2dUses: KernelUse[] = [
  { kernel: tile, specialisations: [form(true), form(false)] },
  { kernel: three, specialisations: [threeForm] },
];

function form(f16: boolean): Specialisation {
  return { const: { THREAD_M: anyTile[0], THREAD_N: anyTile[1], WEIGHT_F16: f16 } };
}

/** Convolution weights as the loader lays them out. */
export interface ConvWeight {
  /** [O, kernel, kernel, I rounded up to a multiple of 8]; what is beyond I is zero. */
  readonly shape: readonly number[];
  readonly parts: readonly MatrixPart[];
}

export interface Conv2dOptions {
  /** [B, H, W, I] or [B, H, W, I rounded up to a multiple of 8], f32. */
  readonly x: Tensor;
  readonly weight: ConvWeight;
  /** [O] f32. */
  readonly bias: Tensor;
  readonly stride?: 1 | 2 | undefined;
  /**
   * "same": (kernel - 1) / 2 zeros on every side. "asymmetric": diffusers' Downsample2D, one column
   * and one row of zeros at the far sides only.
   */
  readonly padding?: "same" | "asymmetric" | undefined;
  /** The input is seen twice as large, nearest neighbour. */
  readonly upsample?: boolean | undefined;
  /** [B, H', W', O] f32: the result is added to it, in place. */
  readonly into?: Tensor | undefined;
  readonly label: string;
}

/** Two-dimensional convolution, NHWC. Returns a new [B, H', W', O], or `into`. */
export function conv2d(rec: Recorder, options: Conv2dOptions): Tensor {
  const { x, weight, bias, stride = 1, padding = "same", upsample = false, into, label } = options;
  const [batch, height, width] = x.shape as [number, number, number, number];
  const [n, kernel, , channels] = weight.shape as [number, number, number, number];
  const pad = padding === "same" ? (kernel - 1) / 2 : 0;
  const outExtent = (extent: number) => {
    const padded = (upsample ? 2 : 1) * extent + (padding === "same" ? 2 * pad : 1);
    return Math.floor((padded - kernel) / stride) + 1;
  };
  const [outHeight, outWidth] = [outExtent(height), outExtent(width)];
  check(options, [batch, outHeight, outWidth, n]);

  const columns = Math.ceil(n / 4) * 4;
  if (into && n !== columns) {
    const result = conv2d(rec, { ...options, into: undefined });
    add(rec, { x: result, into, label });
    rec.release(result);
    return into;
  }
  const wide = x.shape.at(-1) === channels
    ? x
    : resizeRows(rec, { x, columns: channels, label: `${label}/x` });
  const wideBias = n === columns
    ? bias
    : resizeRows(rec, { x: reshape(bias, [1, n]), columns, label: `${label}/bias` });
  const y = into ?? rec.alloc([batch, outHeight, outWidth, columns], label);
  for (const part of weight.parts) {
    const f16 = part.tensor.dtype === "f16";
    const fast = f16 && kernel === 3 && stride === 1 && padding === "same";
    const threads = fast ? threeTile : anyTile;
    const runs = batch * outHeight * Math.ceil(outWidth / threads[0]);
    const { lanesN, groupsM, groupsN } = laneLayout([runs, part.rows], [1, threads[1]], 16);
    const [gridX, gridY] = foldGrid(groupsM);
    const params = {
      batch,
      height,
      width,
      c8: channels / 8,
      out_height: outHeight,
      out_width: outWidth,
      n: part.rows,
      upsample: Number(upsample),
      accumulate: Number(into !== undefined),
      y_stride: columns,
      y_column: part.rowStart,
      lanes_n: lanesN,
      grid_x: gridX,
    };
    rec.dispatch({
      label: `conv2d/${label}`,
      kernel: fast ? three : tile,
      specialise: fast ? threeForm : form(f16),
      bindings: { x: wide, w: part.tensor, bias: wideBias, y },
      params: fast ? params : { ...params, kernel, stride, pad },
      grid: [gridX, gridY, groupsN],
    });
  }
  if (wide !== x) rec.release(wide);
  if (wideBias !== bias) rec.release(wideBias);
  if (n === columns) return y;
  const cut = resizeRows(rec, { x: y, columns: n, label: `${label}/y` });
  rec.release(y);
  return cut;
}

function check(
  { x, weight, bias, padding, into, label }: Conv2dOptions,
  shape: readonly number[],
): void {
  const fail = (what: string, actual: readonly number[], wanted: string) => {
    throw new TypeError(`conv2d/${label}: ${what} is [${actual}], wanted ${wanted}`);
  };
  const [n, kernel, across, channels] = weight.shape;
  if (!channels || channels % 8 || kernel !== across || kernel! % 2 === 0) {
    fail("weight", weight.shape, "[O, odd, odd, a multiple of 8]");
  }
  const given = x.shape.at(-1)!;
  if (x.dtype !== "f32" || x.shape.length !== 4 || Math.ceil(given / 8) * 8 !== channels) {
    fail(`x (${x.dtype})`, x.shape, `[B, H, W, up to ${channels}] f32`);
  }
  if (elements(bias.shape) !== n) fail("bias", bias.shape, `[${n}]`);
  if (padding === "asymmetric" && kernel !== 3) fail("weight", weight.shape, "a 3 x 3 kernel");
  if (into && `${into.shape}` !== `${shape}`) fail("into", into.shape, `[${shape}]`);
}
