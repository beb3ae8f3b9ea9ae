/** [rows, columns] to [columns, stride], zeros past `rows`. */
export function transpose(
  x: ArrayLike<number>,
  rows: number,
  columns: number,
  stride: number,
): Float64Array {
  const output = new Float64Array(columns * stride);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) output[c * stride + r] = x[r * columns + c]!;
  }
  return output;
}
