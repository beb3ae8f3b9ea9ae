import threeSource from "../../../kernels/conv2d_3x3_texture.wgsl" with { type: "text" };
import source from "../../../kernels/conv2d_texture.wgsl" with { type: "text" };
import { defineKernel, type Specialisation } from "../../gpu/kernel.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { Candidate } from "../../gpu/tuning.ts";
import type { KernelUse } from "../support/kernel_use.ts";
import type { MatrixPart } from "../support/matrix.ts";
import { copyRows, rowTexture } from "./texture_rows.ts";

const kernel = defineKernel("conv2d_texture", source);
/** 3 x 3, stride 1: nearly all of the VAE's work. */
const three = defineKernel("conv2d_3x3_texture", threeSource);
const lanes = 16;

/** Pixels of one row x outputs an invocation, and invocations side by side over outputs. */
const tiles = { few: [16, 8, 4], narrow: [16, 8, 16], wide: [16, 16, 16] } as const;
type TileName = keyof typeof tiles;
type Tile = readonly [number, number, number];

/** Outputs up to which the narrow tile would leave lanes idle, and the wide tile half of them. */
const fewOutputs = 4 * 8 * 3;
const narrowOutputs = 16 * 8;

export const conv2dTextureUses: KernelUse[] = [
  { kernel, specialisations: Object.values(tiles).map(form) },
  { kernel: three, specialisations: Object.values(tiles).map(form) },
];

interface TileCandidate extends Candidate {
  readonly tile: Tile;
}

function form([threadM, threadN, lanesN]: Tile): Specialisation {
  return { const: { THREAD_M: threadM, THREAD_N: threadN, LANES_N: lanesN } };
}

function kernelOf({ kernel: taps, stride, pad }: Conv2dTextureOptions) {
  return taps === 3 && stride === 1 && pad === 1 ? three : kernel;
}

/** Tiles worth a trial, the likely best first. */
function likelyTiles(outputs: number): TileName[] {
  if (outputs <= fewOutputs) return ["few", "narrow"];
  return outputs <= narrowOutputs ? ["narrow", "wide"] : ["wide", "narrow"];
}

export interface Conv2dTextureOptions {
  /** [B, H, W, C], C a multiple of 8. */
  readonly x: Tensor;
  readonly parts: readonly MatrixPart[];
  readonly bias: Tensor;
  /** [B, H', W', y_stride]. */
  readonly y: Tensor;
  readonly kernel: number;
  readonly stride: number;
  readonly pad: number;
  readonly upsample: boolean;
  readonly accumulate: boolean;
  readonly label: string;
  /** Default: by the device's tuner. */
  readonly tile?: Tile;
}

/** The convolution with a weight in textures: as many lines at a time as x's texture holds. */
export function conv2dTexture(rec: Recorder, options: Conv2dTextureOptions): void {
  const { x, parts, bias, y, stride, pad, label } = options;
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const [, outHeight, outWidth, columns] = y.shape as [number, number, number, number];
  const upsample = Number(options.upsample);
  const layout = rowTexture(rec, channels, (options.kernel + 1) * width);
  const linesAtOnce = Math.floor(layout.rowsAtOnce / width);

  /** First and last line of x, counted over all samples, that an output line sees. */
  const seen = (line: number): readonly [number, number] => {
    const top = (line % outHeight) * stride - pad;
    const bottom = Math.min(top + options.kernel, height << upsample) - 1;
    const start = Math.floor(line / outHeight) * height;
    return [start + (Math.max(0, top) >> upsample), start + (bottom >> upsample)];
  };
  const lines = batch * outHeight;
  for (let line = 0; line < lines;) {
    const [firstSeen] = seen(line);
    let end = line + 1;
    while (end < lines && seen(end)[1] - firstSeen < linesAtOnce) end++;
    const pixels = (seen(end - 1)[1] - firstSeen + 1) * width;
    copyRows(rec, x, layout, firstSeen * width, pixels);
    for (const part of parts) {
      const tile = options.tile ?? chooseTile(rec, options, part);
      const [threadM, threadN, lanesN] = tile;
      const runs = (end - line) * Math.ceil(outWidth / threadM);
      rec.dispatch({
        label: `conv2d/${label}`,
        kernel: kernelOf(options),
        specialise: form(tile),
        bindings: { x: layout.texture, w: part.texture!, bias, y },
        params: {
          height,
          width,
          c8: channels / 8,
          pixel_shift: layout.shift,
          out_height: outHeight,
          out_width: outWidth,
          n: part.rows,
          kernel: options.kernel,
          stride,
          pad,
          upsample,
          accumulate: Number(options.accumulate),
          y_stride: columns,
          y_column: part.rowStart,
          first_pixel: firstSeen * width,
          first_line: line,
          end_line: end,
        },
        grid: [Math.ceil(runs / (lanes / lanesN)), Math.ceil(part.rows / (lanesN * threadN))],
      });
    }
    line = end;
  }
}

function chooseTile(rec: Recorder, options: Conv2dTextureOptions, part: MatrixPart): Tile {
  const { x, y, kernel: taps, stride, upsample } = options;
  const [, height, width, channels] = x.shape as [number, number, number, number];
  const [, outHeight, outWidth] = y.shape as [number, number, number, number];
  const form2d = `${taps}x${taps}/${stride}${upsample ? " upsample" : ""}`;
  return rec.choose({
    key:
      `conv2d ${part.rows}x${channels} ${form2d} ${part.tensor.dtype} texture @${height}x${width}`,
    work: outHeight * outWidth * part.rows * taps * taps * channels,
    candidates: likelyTiles(part.rows).map((name): TileCandidate => ({
      name,
      tile: tiles[name],
      kernel: kernelOf(options),
      specialise: form(tiles[name]),
    })),
    record: (trial, { tile }) => {
      const columns = Math.ceil(part.rows / 4) * 4;
      conv2dTexture(trial, {
        ...options,
        x: trial.alloc([1, height, width, channels], "x"),
        parts: [{ ...part, rowStart: 0 }],
        bias: trial.standIn(options.bias),
        y: trial.alloc([1, outHeight, outWidth, columns], "y"),
        accumulate: false,
        tile,
      });
    },
  }).tile;
}
