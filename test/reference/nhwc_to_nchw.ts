/** (B, pixels, C) to (B, C, pixels). */
export function nhwcToNchw(x: ArrayLike<number>, batch: number, channels: number): number[] {
  const pixels = x.length / batch / channels;
  return Array.from({ length: x.length }, (_, at) => {
    const pixel = at % pixels;
    const c = Math.floor(at / pixels) % channels;
    const sample = Math.floor(at / pixels / channels);
    return x[(sample * pixels + pixel) * channels + c]!;
  });
}
