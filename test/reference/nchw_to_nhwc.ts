import type { Extents } from "./patchify.ts";

/** (B, C, H, W) to (B, H, W, padded), each value `value / divisor + shift` in float32. */
export function nchwToNhwc(
  x: ArrayLike<number>,
  [batch, channels, height, width]: Extents,
  padded: number,
  divisor: number,
  shift: number,
): number[] {
  const { fround } = Math;
  const pixels = height * width;
  return Array.from({ length: batch * pixels * padded }, (_, at) => {
    const c = at % padded;
    const pixel = Math.floor(at / padded) % pixels;
    const sample = Math.floor(at / padded / pixels);
    if (c >= channels) return 0;
    const value = x[(sample * channels + c) * pixels + pixel]!;
    return fround(fround(value / fround(divisor)) + fround(shift));
  });
}
