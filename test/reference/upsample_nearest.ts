type Shape = readonly [batch: number, height: number, width: number, channels: number];

/** (B, H, W, C) to (B, 2H, 2W, C), each pixel repeated. */
export function upsampleNearest(x: ArrayLike<number>, [batch, h, w, channels]: Shape): number[] {
  const y: number[] = [];
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < 2 * h; i++) {
      for (let j = 0; j < 2 * w; j++) {
        for (let c = 0; c < channels; c++) {
          y.push(x[((b * h + (i >> 1)) * w + (j >> 1)) * channels + c]!);
        }
      }
    }
  }
  return y;
}
