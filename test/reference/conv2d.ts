export interface ConvShape {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: number;
  readonly stride: number;
  /** Zeros before the first row and column. */
  readonly before: number;
  /** Zeros after the last ones. */
  readonly after: number;
}

/** Convolution in f64: x NHWC, w [O, kernel, kernel, I]; returns NHWC. */
export function conv2dReference(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  bias: ArrayLike<number>,
  { batch, height, width, inputs, outputs, kernel, stride, before, after }: ConvShape,
): Float64Array {
  const outHeight = Math.floor((height + before + after - kernel) / stride) + 1;
  const outWidth = Math.floor((width + before + after - kernel) / stride) + 1;
  const y = new Float64Array(batch * outHeight * outWidth * outputs);
  for (let index = 0; index < y.length; index++) {
    const o = index % outputs;
    const u = Math.floor(index / outputs) % outWidth;
    const v = Math.floor(index / outputs / outWidth) % outHeight;
    const b = Math.floor(index / outputs / outWidth / outHeight);
    let sum = bias[o]!;
    for (let q = 0; q < kernel; q++) {
      const row = v * stride + q - before;
      if (row < 0 || row >= height) continue;
      for (let p = 0; p < kernel; p++) {
        const column = u * stride + p - before;
        if (column < 0 || column >= width) continue;
        const from = ((b * height + row) * width + column) * inputs;
        const tap = ((o * kernel + q) * kernel + p) * inputs;
        for (let c = 0; c < inputs; c++) sum += x[from + c]! * w[tap + c]!;
      }
    }
    y[index] = sum;
  }
  return y;
}

/** Nearest-neighbour enlargement of NHWC by two. */
export function enlarge(
  x: Float32Array,
  [batch, height, width, channels]: readonly [number, number, number, number],
): Float32Array {
  const y = new Float32Array(4 * x.length);
  for (let row = 0; row < batch * 2 * height; row++) {
    for (let column = 0; column < 2 * width; column++) {
      const from = (Math.floor(row / 2) * width + Math.floor(column / 2)) * channels;
      y.set(x.subarray(from, from + channels), (row * 2 * width + column) * channels);
    }
  }
  return y;
}
