/**
 * Layers that several networks share, in operators of opset 17. Everything is float32 between
 * them; only the operands of matrix products and convolutions are float16 where the graph computes
 * in float16, since norms, residual sums and softmax lose too much there. `path` is always the
 * module's full path in the checkpoint.
 */
import type { ComputeType, GraphBuilder, Value } from "./graph.ts";

/** `x * weight^T + bias`, x [..., inputs] -> [..., outputs]. */
export function linear(
  g: GraphBuilder,
  x: Value,
  path: string,
  inputs: number,
  outputs: number,
  options: { bias?: boolean; compute?: ComputeType } = {},
): Value {
  return g.within(path.split(".").at(-1)!, () => {
    const compute = options.compute ?? g.compute;
    const weight = g.factor(`${path}.weight`, [outputs, inputs], { transposed: true, compute });
    const product = g.cast(g.op("MatMul", [g.cast(x, compute), weight]), "f32");
    if (options.bias === false) return product;
    return g.op("Add", [product, g.vector(`${path}.bias`, [outputs])]);
  });
}

export interface ConvShape {
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: number;
  readonly stride?: number;
  /** top, left, bottom, right; default none. */
  readonly pads?: readonly [number, number, number, number];
}

/** A convolution over NCHW. */
export function conv(g: GraphBuilder, x: Value, path: string, shape: ConvShape): Value {
  const { inputs, outputs, kernel, stride = 1, pads = [0, 0, 0, 0] } = shape;
  return g.within(path.split(".").at(-1)!, () => {
    const weight = g.factor(`${path}.weight`, [outputs, inputs, kernel, kernel]);
    const bias = g.cast(g.vector(`${path}.bias`, [outputs]), g.compute);
    const y = g.op("Conv", [g.cast(x, g.compute), weight, bias], {
      kernel_shape: [kernel, kernel],
      strides: [stride, stride],
      pads,
    });
    return g.cast(y, "f32");
  });
}

/** Layer norm over the last axis; without `path` it has neither weight nor bias. */
export function layerNorm(
  g: GraphBuilder,
  x: Value,
  path: string | undefined,
  channels: number,
  epsilon: number,
): Value {
  const attributes = { axis: -1, epsilon: { float: epsilon } };
  if (path === undefined) {
    const ones = g.floats(new Float32Array(channels).fill(1), [channels]);
    return g.op("LayerNormalization", [x, ones], attributes);
  }
  return g.within(path.split(".").at(-1)!, () => {
    const weight = g.vector(`${path}.weight`, [channels]);
    const bias = g.vector(`${path}.bias`, [channels]);
    return g.op("LayerNormalization", [x, weight, bias], attributes);
  });
}

/** `x / sqrt(mean(x * x) + epsilon) * weight` over the last axis. */
export function rmsNorm(
  g: GraphBuilder,
  x: Value,
  path: string,
  channels: number,
  epsilon: number,
): Value {
  return g.within(path.split(".").at(-1)!, () => {
    const meanSquare = g.op("ReduceMean", [g.op("Mul", [x, x])], { axes: [-1], keepdims: 1 });
    const root = g.op("Sqrt", [g.op("Add", [meanSquare, g.floats(epsilon)])]);
    return g.op("Mul", [g.op("Div", [x, root]), g.vector(`${path}.weight`, [channels])]);
  });
}

/** Group norm over NCHW, by instance norm of the groups: GroupNormalization is younger than 17. */
export function groupNorm(
  g: GraphBuilder,
  x: Value,
  path: string,
  channels: number,
  groups: number,
  epsilon: number,
): Value {
  return g.within(path.split(".").at(-1)!, () => {
    const grouped = g.op("Reshape", [x, g.ints([0, groups, -1])]);
    const ones = g.floats(new Float32Array(groups).fill(1), [groups]);
    const zeros = g.floats(new Float32Array(groups), [groups]);
    const normed = g.op("InstanceNormalization", [grouped, ones, zeros], {
      epsilon: { float: epsilon },
    });
    const restored = g.op("Reshape", [normed, g.op("Shape", [x], {}, "i64")]);
    const weight = g.vector(`${path}.weight`, [channels], [channels, 1, 1]);
    const bias = g.vector(`${path}.bias`, [channels], [channels, 1, 1]);
    return g.op("Add", [g.op("Mul", [restored, weight]), bias]);
  });
}

/** `x * sigmoid(x)`. */
export function silu(g: GraphBuilder, x: Value): Value {
  return g.op("Mul", [x, g.op("Sigmoid", [x])]);
}

/** `x * sigmoid(1.702 x)`, CLIP's approximation of GELU. */
export function quickGelu(g: GraphBuilder, x: Value): Value {
  return g.op("Mul", [x, g.op("Sigmoid", [g.op("Mul", [x, g.floats(1.702)])])]);
}

/** The exact GELU, `x / 2 * (1 + erf(x / sqrt 2))`. */
export function gelu(g: GraphBuilder, x: Value): Value {
  const erf = g.op("Erf", [g.op("Div", [x, g.floats(Math.SQRT2)])]);
  const half = g.op("Mul", [x, g.op("Add", [erf, g.floats(1)])]);
  return g.op("Mul", [half, g.floats(0.5)]);
}

/** GELU by tanh, "gelu_new" and "gelu-approximate"; cubes by products, `Pow` is inexact on GPUs. */
export function geluTanh(g: GraphBuilder, x: Value): Value {
  const cube = g.op("Mul", [g.op("Mul", [x, x]), x]);
  const sum = g.op("Add", [x, g.op("Mul", [cube, g.floats(0.044715)])]);
  const tanh = g.op("Tanh", [g.op("Mul", [sum, g.floats(Math.sqrt(2 / Math.PI))])]);
  const half = g.op("Mul", [x, g.floats(0.5)]);
  return g.op("Mul", [half, g.op("Add", [tanh, g.floats(1)])]);
}

/** [B, S, heads * headDim] -> [B, heads, S, headDim]. */
export function splitHeads(g: GraphBuilder, x: Value, heads: number, headDim: number): Value {
  const split = g.op("Reshape", [x, g.ints([0, -1, heads, headDim])]);
  return g.op("Transpose", [split], { perm: [0, 2, 1, 3] });
}

/** [B, heads, S, headDim] -> [B, S, heads * headDim]. */
export function mergeHeads(g: GraphBuilder, x: Value, channels: number): Value {
  const merged = g.op("Transpose", [x], { perm: [0, 2, 1, 3] });
  return g.op("Reshape", [merged, g.ints([0, -1, channels])]);
}

/**
 * `softmax(q k^T * scale + bias) v` with q, k, v [B, heads, S, headDim].
 * @param scale absent: 1 (T5)
 * @param bias added to the scores, broadcast
 */
export function attention(
  g: GraphBuilder,
  q: Value,
  k: Value,
  v: Value,
  scale?: number,
  bias?: Value,
): Value {
  return g.within("attention", () => {
    const transposed = g.op("Transpose", [g.cast(k, g.compute)], { perm: [0, 1, 3, 2] });
    // the scale goes on q: float16 scores would overflow sooner without it
    const scaled = scale === undefined ? q : g.op("Mul", [q, g.floats(scale)]);
    const product = g.op("MatMul", [g.cast(scaled, g.compute), transposed]);
    let scores = g.cast(product, "f32");
    if (bias) scores = g.op("Add", [scores, bias]);
    const weights = g.cast(g.op("Softmax", [scores], { axis: -1 }), g.compute);
    return g.cast(g.op("MatMul", [weights, g.cast(v, g.compute)]), "f32");
  });
}

/** Extent of one axis, as a one-dimensional int64 of one element. */
export function extent(g: GraphBuilder, x: Value, axis: number): Value {
  return g.op("Shape", [x], { start: axis, end: axis + 1 }, "i64");
}
