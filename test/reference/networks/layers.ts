/**
 * The layers of the networks in plain f64: straight loops over flat row-major arrays, sharing no
 * code with what they check. Rows are tokens or pixels, channels last.
 */

/** One network's stored tensors by their names in the checkpoint. */
export type Weights = (key: string) => ArrayLike<number>;

/** Calls with a name and a value wherever a network has a value worth comparing. */
export type Observe = (name: string, value: Float64Array) => void;

/** y = x W^T + b for `path.weight` [n, k], and `path.bias` [n] unless `bias` is false. */
export function linear(w: Weights, path: string, x: Float64Array, k: number, bias = true) {
  const weight = w(`${path}.weight`);
  const b = bias ? w(`${path}.bias`) : undefined;
  const n = weight.length / k;
  const rows = x.length / k;
  const y = new Float64Array(rows * n);
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < n; j++) {
      let sum = b ? b[j]! : 0;
      for (let i = 0; i < k; i++) sum += x[r * k + i]! * weight[j * k + i]!;
      y[r * n + j] = sum;
    }
  }
  return y;
}

/** Mean zero, variance one in every row of `width`; no weight, no bias. */
export function normalise(x: Float64Array, width: number, eps: number): Float64Array {
  const y = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += width) {
    let mean = 0;
    for (let i = 0; i < width; i++) mean += x[at + i]! / width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (x[at + i]! - mean) ** 2 / width;
    for (let i = 0; i < width; i++) y[at + i] = (x[at + i]! - mean) / Math.sqrt(variance + eps);
  }
  return y;
}

export function layerNorm(w: Weights, path: string, x: Float64Array, width: number, eps: number) {
  const weight = w(`${path}.weight`);
  const bias = w(`${path}.bias`);
  return normalise(x, width, eps).map((v, i) => v * weight[i % width]! + bias[i % width]!);
}

/** x / sqrt(mean(x^2) + eps) * weight in every row of `width`. */
export function rmsNorm(weight: ArrayLike<number>, x: Float64Array, eps: number): Float64Array {
  const width = weight.length;
  const y = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += width) {
    let square = 0;
    for (let i = 0; i < width; i++) square += x[at + i]! ** 2 / width;
    for (let i = 0; i < width; i++) y[at + i] = x[at + i]! / Math.sqrt(square + eps) * weight[i]!;
  }
  return y;
}

/** In place: x + y. */
export function addTo(x: Float64Array, y: Float64Array): Float64Array {
  for (let i = 0; i < x.length; i++) x[i] = x[i]! + y[i]!;
  return x;
}

export const silu = (x: number) => x / (1 + Math.exp(-x));
export const quickGelu = (x: number) => x / (1 + Math.exp(-1.702 * x));
export const geluTanh = (x: number) =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
/** x Phi(x), with Phi from Simpson's rule over the normal density: slow, plain and exact enough. */
export function gelu(x: number): number {
  const end = Math.min(Math.abs(x), 9);
  const steps = 2 * Math.ceil(end * 32) + 2;
  const h = end / steps;
  let sum = 0;
  for (let i = 0; i <= steps; i++) {
    const factor = i === 0 || i === steps ? 1 : i % 2 ? 4 : 2;
    sum += factor * Math.exp(-((i * h) ** 2) / 2);
  }
  const half = sum * h / 3 / Math.sqrt(2 * Math.PI);
  return x * (0.5 + (x < 0 ? -half : half));
}

/**
 * Softmax attention of `heads` heads over q, k and v, rows of heads * d each.
 *
 * @param bias added to the score of head h, query i, key j; -Infinity hides the key
 */
export function attention(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  { heads, d, scale, bias = () => 0 }: {
    heads: number;
    d: number;
    scale: number;
    bias?: (h: number, i: number, j: number) => number;
  },
): Float64Array {
  const width = heads * d;
  const queries = q.length / width;
  const keys = k.length / width;
  const y = new Float64Array(q.length);
  const scores = new Float64Array(keys);
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < queries; i++) {
      let most = -Infinity;
      for (let j = 0; j < keys; j++) {
        let dot = 0;
        for (let c = 0; c < d; c++) dot += q[i * width + h * d + c]! * k[j * width + h * d + c]!;
        scores[j] = dot * scale + bias(h, i, j);
        most = Math.max(most, scores[j]!);
      }
      let total = 0;
      for (let j = 0; j < keys; j++) total += scores[j] = Math.exp(scores[j]! - most);
      for (let j = 0; j < keys; j++) {
        const share = scores[j]! / total;
        for (let c = 0; c < d; c++) y[i * width + h * d + c]! += share * v[j * width + h * d + c]!;
      }
    }
  }
  return y;
}

/** Rows of a then rows of b. */
export function join(a: Float64Array, b: Float64Array): Float64Array {
  const y = new Float64Array(a.length + b.length);
  y.set(a);
  y.set(b, a.length);
  return y;
}
