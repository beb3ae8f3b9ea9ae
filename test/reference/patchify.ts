export type Extents = readonly [batch: number, channels: number, height: number, width: number];

/** (B, C, H, W) to rows of patches with columns (c, y, x). */
export function patchify(x: ArrayLike<number>, extents: Extents, patch: number): number[] {
  const [batch, channels, height, width] = extents;
  const y: number[] = [];
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < height; i += patch) {
      for (let j = 0; j < width; j += patch) {
        for (let c = 0; c < channels; c++) {
          for (let p = 0; p < patch; p++) {
            for (let q = 0; q < patch; q++) {
              y.push(x[((b * channels + c) * height + i + p) * width + j + q]!);
            }
          }
        }
      }
    }
  }
  return y;
}
