import type { Recorder } from "../gpu/recorder.ts";
import { elements, reshape, rowsOf, rowStride, type Tensor } from "../gpu/tensor.ts";
import { add } from "./add.ts";
import { likelyVariants, variants } from "./conv2d_variants.ts";
import type { Conv2dVariant } from "./support/conv2d_variant.ts";
import { usesOf } from "./support/kernel_use.ts";
import type { MatrixPart } from "./support/matrix.ts";
import { resizeRows } from "./resize_rows.ts";
import { conv2dTexture } from "./software/conv2d_texture.ts";

export const conv2dUses = usesOf(variants);

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
  /** Of weights in buffers; default: by the device's tuner. */
  readonly variant?: Conv2dVariant | undefined;
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
    return into;
  }
  const wide = x.shape.at(-1) === channels
    ? x
    : resizeRows(rec, { x, columns: channels, label: `${label}/x` });
  const wideBias = n === columns
    ? bias
    : resizeRows(rec, { x: reshape(bias, [1, n]), columns, label: `${label}/bias` });
  const y = into ?? rec.alloc([batch, outHeight, outWidth, columns], label);
  const textured = weight.parts.some((part) => part.texture);
  if (textured) {
    conv2dTexture(rec, {
      x: wide,
      parts: weight.parts,
      bias: wideBias,
      y,
      kernel,
      stride,
      pad,
      upsample,
      accumulate: into !== undefined,
      label,
    });
  }
  for (const part of textured ? [] : weight.parts) {
    const pixels = outHeight * outWidth;
    const variant = options.variant ?? chooseVariant(rec, options, part, pixels);
    const { lanesN, groupsM, groupsN } = variant.layout(batch * outHeight, outWidth, part.rows);
    const params = {
      batch,
      height,
      width,
      c8: channels / 8,
      out_height: outHeight,
      out_width: outWidth,
      n: part.rows,
      kernel,
      stride,
      pad,
      upsample: Number(upsample),
      accumulate: Number(into !== undefined),
      y_stride: columns,
      y_column: part.rowStart,
      lanes_n: lanesN,
    };
    rec.dispatch({
      label: `conv2d/${label}`,
      kernel: variant.kernel,
      specialise: variant.specialise,
      bindings: { x: wide, w: part.tensor, bias: wideBias, y },
      params,
      grid: [groupsM, groupsN],
    });
  }
  if (n === columns) return y;
  return resizeRows(rec, { x: y, columns: n, label: `${label}/y` });
}

function chooseVariant(rec: Recorder, options: Conv2dOptions, part: MatrixPart, pixels: number) {
  const { x, weight, stride = 1, padding = "same", upsample = false } = options;
  const [, height, width] = x.shape as [number, number, number, number];
  const [, kernel, , channels] = weight.shape as [number, number, number, number];
  const { dtype } = part.tensor;
  const shape = { dtype, kernel, stride, padding, pixels, outputs: part.rows };
  const form = `${kernel}x${kernel}/${stride}${upsample ? " upsample" : ""}`;
  return rec.choose({
    key: `conv2d ${part.rows}x${channels} ${form} ${dtype} @${height}x${width}`,
    work: pixels * part.rows * kernel * kernel * channels,
    candidates: likelyVariants(rec.gpu, shape),
    record: (trial, variant) => {
      conv2d(trial, {
        ...options,
        x: trial.alloc([1, height, width, channels], "x"),
        weight: {
          shape: [part.rows, ...weight.shape.slice(1)],
          parts: [{ ...part, rowStart: 0 }],
        },
        bias: trial.standIn(rowsOf(options.bias, 0, part.rows)),
        into: undefined,
        variant,
      });
    },
  });
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
  if (x.dtype !== "f32" || x.shape.length !== 4 || rowStride(given) !== channels) {
    fail(`x (${x.dtype})`, x.shape, `[B, H, W, up to ${channels}] f32`);
  }
  if (elements(bias.shape) !== n) fail("bias", bias.shape, `[${n}]`);
  if (padding === "asymmetric" && kernel !== 3) fail("weight", weight.shape, "a 3 x 3 kernel");
  if (into && `${into.shape}` !== `${shape}`) fail("into", into.shape, `[${shape}]`);
}
