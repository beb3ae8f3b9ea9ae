import type { Extents } from "./patchify.ts";

/** Rows of patches with columns (y, x, c) to (B, C, H, W), the result's extents given. */
export function unpatchify(x: ArrayLike<number>, extents: Extents, patch: number): Float64Array {
  const [batch, channels, height, width] = extents;
  const y = new Float64Array(x.length);
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < height; i += patch) {
      for (let j = 0; j < width; j += patch) {
        for (let p = 0; p < patch; p++) {
          for (let q = 0; q < patch; q++) {
            for (let c = 0; c < channels; c++) {
              y[((b * channels + c) * height + i + p) * width + j + q] = x[at++]!;
            }
          }
        }
      }
    }
  }
  return y;
}
