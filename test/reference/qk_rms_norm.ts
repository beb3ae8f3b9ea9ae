/** RMS norm of each head's q and k in fused [rows, 3*H*D], in f64; v is copied. */
export function qkRmsNorm(
  qkv: ArrayLike<number>,
  heads: number,
  headDim: number,
  weights: readonly [q: ArrayLike<number>, k: ArrayLike<number>],
  eps: number,
): Float64Array {
  const output = Float64Array.from(qkv);
  const width = heads * headDim;
  for (let row = 0; row < qkv.length; row += 3 * width) {
    for (const [part, weight] of weights.entries()) {
      for (let h = 0; h < heads; h++) {
        const base = row + part * width + h * headDim;
        let squares = 0;
        for (let d = 0; d < headDim; d++) squares += qkv[base + d]! ** 2;
        const root = Math.sqrt(squares / headDim + eps);
        for (let d = 0; d < headDim; d++) output[base + d] = qkv[base + d]! / root * weight[d]!;
      }
    }
  }
  return output;
}
