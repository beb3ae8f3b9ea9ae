/**
 * Small previews straight from latents: colour is nearly linear in them. The projection is fitted to
 * the model's own decoder by least squares, so it serves any autoencoder.
 */
import type { RgbImage } from "./rgb_image.ts";

/** Rows for each latent channel and a last one for the bias; columns r, g, b in [-1, 1]. */
export type LatentProjection = readonly (readonly [number, number, number])[];

export interface LatentSize {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** Keeps the fit tame where channels of the sample happen to move together. */
const ridge = 1e-3;

/**
 * Fits a projection.
 *
 * @param latents [C, h, w]
 * @param image the decoder's output for them, [h * scale, w * scale, 3] in [-1, 1]
 */
export function fitProjection(
  latents: Float32Array,
  { channels, height, width }: LatentSize,
  image: Float32Array,
): LatentProjection {
  const cells = height * width;
  const scale = Math.round(Math.sqrt(image.length / 3 / cells));
  const size = channels + 1;
  const normal = Array.from({ length: size }, () => new Float64Array(size + 3));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const row = Array.from(
        { length: size },
        (_, c) => c < channels ? latents[c * cells + y * width + x]! : 1,
      );
      row.push(...meanColour(image, x, y, scale, width));
      for (let i = 0; i < size; i++) {
        for (let j = 0; j < row.length; j++) normal[i]![j]! += row[i]! * row[j]!;
      }
    }
  }
  for (let i = 0; i < channels; i++) normal[i]![i]! += ridge * cells;
  solve(normal);
  return normal.map((row, i) => {
    const [r, g, b] = row.subarray(size);
    return [r! / row[i]!, g! / row[i]!, b! / row[i]!] as const;
  });
}

/** The colour of the pixels that one latent cell stands for. */
function meanColour(image: Float32Array, x: number, y: number, scale: number, width: number) {
  const sum = [0, 0, 0];
  for (let j = 0; j < scale; j++) {
    for (let i = 0; i < scale; i++) {
      const at = 3 * ((y * scale + j) * width * scale + x * scale + i);
      for (let c = 0; c < 3; c++) sum[c]! += image[at + c]! / (scale * scale);
    }
  }
  return sum;
}

/** Gauss-Jordan elimination in place: diagonal on the left, solutions (undivided) on the right. */
function solve(rows: Float64Array[]): void {
  for (let i = 0; i < rows.length; i++) {
    for (let k = 0; k < rows.length; k++) {
      if (k === i) continue;
      const factor = rows[k]![i]! / rows[i]![i]!;
      for (let j = i; j < rows[k]!.length; j++) rows[k]![j]! -= factor * rows[i]![j]!;
    }
  }
}

/** Latents [C, h, w] as an image of h x w pixels. */
export function latentPreview(
  latents: Float32Array,
  { channels, height, width }: LatentSize,
  projection: LatentProjection,
): RgbImage {
  const cells = height * width;
  const data = new Uint8Array(cells * 3);
  for (let i = 0; i < cells; i++) {
    for (let c = 0; c < 3; c++) {
      let value = projection[channels]![c]!;
      for (let k = 0; k < channels; k++) value += latents[k * cells + i]! * projection[k]![c]!;
      data[3 * i + c] = Math.round(Math.min(1, Math.max(0, value / 2 + 0.5)) * 255);
    }
  }
  return { width, height, data };
}
