/** activation(x * w^T + bias) in f64: x [rows, k], w [n, k]. */
export function linearReference(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  [rows, n, k]: readonly [number, number, number],
  bias?: ArrayLike<number>,
  activation = "none",
): Float64Array {
  const y = new Float64Array(rows * n);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < n; column++) {
      let sum = bias?.[column] ?? 0;
      for (let i = 0; i < k; i++) sum += x[row * k + i]! * w[column * k + i]!;
      y[row * n + column] = activate(sum, activation);
    }
  }
  return y;
}

function activate(x: number, activation: string): number {
  switch (activation) {
    case "gelu_tanh":
      return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    case "gelu":
      return 0.5 * x * (1 + erf(x / Math.SQRT2));
    case "quick_gelu":
      return x / (1 + Math.exp(-1.702 * x));
    case "silu":
      return x / (1 + Math.exp(-x));
    default:
      return x;
  }
}

/** Maclaurin series near zero; beyond, where it cancels, the continued fraction of erfc. */
function erf(x: number): number {
  if (Math.abs(x) > 2.5) {
    let fraction = 0;
    for (let n = 60; n > 0; n--) fraction = n / 2 / (Math.abs(x) + fraction);
    const erfc = Math.exp(-x * x) / Math.sqrt(Math.PI) / (Math.abs(x) + fraction);
    return Math.sign(x) * (1 - erfc);
  }
  let term = x;
  let sum = x;
  for (let n = 1; n < 100; n++) {
    term *= -x * x / n;
    sum += term / (2 * n + 1);
  }
  return sum * 2 / Math.sqrt(Math.PI);
}
