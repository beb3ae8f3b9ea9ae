type Shape = readonly [batch: number, tokens: number, channels: number];

/** `into` with x written at (row, column) of every sample. */
export function place(
  x: ArrayLike<number>,
  [batch, tokens, channels]: Shape,
  into: ArrayLike<number>,
  [, intoTokens, intoChannels]: Shape,
  row: number,
  column: number,
): number[] {
  const y = Array.from(into);
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < tokens; t++) {
      for (let c = 0; c < channels; c++) {
        y[(b * intoTokens + row + t) * intoChannels + column + c] =
          x[(b * tokens + t) * channels + c]!;
      }
    }
  }
  return y;
}
