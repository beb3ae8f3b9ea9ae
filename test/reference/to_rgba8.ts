/** Opaque RGBA words of RGB triples in [-1, 1], rounded as numpy rounds float32. */
export function toRgba8(x: ArrayLike<number>): Uint32Array {
  const { fround } = Math;
  const byte = (value: number) => {
    const unit = Math.min(1, Math.max(0, fround(value * 0.5 + 0.5)));
    const scaled = fround(unit * 255);
    const floor = Math.floor(scaled);
    const rest = scaled - floor;
    const up = rest > 0.5 || (rest === 0.5 && floor % 2 === 1);
    return floor + (up ? 1 : 0);
  };
  return Uint32Array.from({ length: x.length / 3 }, (_, i) => {
    const [r, g, b] = [byte(x[3 * i]!), byte(x[3 * i + 1]!), byte(x[3 * i + 2]!)];
    return r + g * 2 ** 8 + b * 2 ** 16 + 255 * 2 ** 24;
  });
}
