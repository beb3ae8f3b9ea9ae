/** Row `rows[b]` of each sample of (B, tokens, channels). */
export function gatherRows(
  x: ArrayLike<number>,
  rows: ArrayLike<number>,
  tokens: number,
  channels: number,
): number[] {
  return Array.from({ length: rows.length * channels }, (_, at) => {
    const sample = Math.floor(at / channels);
    return x[(sample * tokens + rows[sample]!) * channels + at % channels]!;
  });
}
