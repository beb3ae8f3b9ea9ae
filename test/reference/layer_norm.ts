export interface LayerNormInput {
  readonly x: ArrayLike<number>;
  readonly rows: number;
  readonly channels: number;
  readonly eps: number;
  readonly weight?: ArrayLike<number> | undefined;
  readonly bias?: ArrayLike<number> | undefined;
  /** Of one row: its sample's scale and shift. */
  readonly modulation?: (row: number, channel: number) => { scale: number; shift: number };
}

export function layerNorm(input: LayerNormInput): Float64Array {
  const { x, rows, channels, eps, weight, bias, modulation } = input;
  const y = new Float64Array(rows * channels);
  for (let row = 0; row < rows; row++) {
    const values = Array.from({ length: channels }, (_, c) => x[row * channels + c]!);
    const mean = values.reduce((sum, v) => sum + v, 0) / channels;
    const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / channels;
    for (const [c, value] of values.entries()) {
      let result = (value - mean) / Math.sqrt(variance + eps);
      result = result * (weight?.[c] ?? 1) + (bias?.[c] ?? 0);
      const { scale, shift } = modulation?.(row, c) ?? { scale: 0, shift: 0 };
      y[row * channels + c] = result * (1 + scale) + shift;
    }
  }
  return y;
}
