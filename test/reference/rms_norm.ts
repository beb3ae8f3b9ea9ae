export function rmsNorm(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  eps: number,
): Float64Array {
  const channels = weight.length;
  const y = new Float64Array(x.length);
  for (let base = 0; base < x.length; base += channels) {
    let squares = 0;
    for (let c = 0; c < channels; c++) squares += x[base + c]! ** 2;
    const inverse = 1 / Math.sqrt(squares / channels + eps);
    for (let c = 0; c < channels; c++) y[base + c] = x[base + c]! * inverse * weight[c]!;
  }
  return y;
}
