/** softmax(scale * x) of each row of [rows, columns], in f64. */
export function softmaxRows(x: ArrayLike<number>, columns: number, scale = 1): Float64Array {
  const output = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += columns) {
    let maximum = -Infinity;
    for (let c = 0; c < columns; c++) maximum = Math.max(maximum, scale * x[row + c]!);
    let total = 0;
    for (let c = 0; c < columns; c++) {
      output[row + c] = Math.exp(scale * x[row + c]! - maximum);
      total += output[row + c]!;
    }
    for (let c = 0; c < columns; c++) output[row + c] = output[row + c]! / total;
  }
  return output;
}
