// y[r, n] = activation(sum_k x[r, k] * w[n, k] + bias[n]), or y += that, or y += gate * that, for
// GPUs and a few rows: a workgroup reads four rows of w once, side by side along k.
//
// x       (rows, k8 * 8)          f32
// w       (n, k8 * 8)             WEIGHT_BITS of each value, four words a vec4u. 32: f32; 16: f16;
//         8, 4: integers in two's complement (q8_0, q4_0), times their block's scale
// scales  (n, k8 / 4)             f16, of each 32 k of a row, two a word; used with 8 and 4 bits
// bias    (n) at bias_offset      f32; used where has_bias
// gate    sample s, column n at gate_offset + s * gate_stride + n; used where has_gate
// y       (rows, y_stride)        f32; columns y_column .. y_column + n rounded up to 4 are written
// params  as linear_tile.wgsl; lanes_n is not used
//
// Specialise: THREAD_M rows a workgroup, WEIGHT_BITS.
// Grid: 64 invocations a workgroup; workgroups: x over THREAD_M rows, y over four
// columns.
// Numerics: f32; invocation l sums k = 8 l .. 8 l + 7, 8 (l + 64) .., then the 64 sums meet in a
// tree: an order that depends on k alone.
//
// Reads of w are what it costs: for f16 2 bytes for 2 THREAD_M flop; neighbours read neighbouring
// bytes.
struct Params {
  rows: u32, n: u32, k8: u32, y_stride: u32,
  y_column: u32, rows_per_sample: u32, gate_offset: u32, gate_stride: u32,
  bias_offset: u32, has_bias: u32, has_gate: u32, accumulate: u32,
  lanes_n: u32, activation: u32,
  group_x: u32, group_y: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> w: array<vec4u>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read> gate: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(6) var<uniform> params: Params;

const THREAD_M = 1u;
const WEIGHT_BITS = 16u;

var<workgroup> sums: array<array<vec4f, THREAD_M>, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = (params.group_x + group.x) * THREAD_M;
  let column = (params.group_y + group.y) * 4u;
  var acc: array<vec4f, THREAD_M>;
  for (var k = lane; k < params.k8; k += 64u) {
    for (var half = 0u; half < 2u; half++) { // unroll
      var b: array<vec4f, 4>;
      for (var j = 0u; j < 4u; j++) { // unroll
        b[j] = weight(min(column + j, params.n - 1u), 2u * k + half);
      }
      for (var i = 0u; i < THREAD_M; i++) { // unroll
        let a = x[(min(row + i, params.rows - 1u) * params.k8 + k) * 2u + half];
        for (var e = 0u; e < 4u; e++) { // unroll
          acc[i] = fma(vec4f(a[e]), vec4f(b[0][e], b[1][e], b[2][e], b[3][e]), acc[i]);
        }
      }
    }
  }
  sums[lane] = acc;
  workgroupBarrier();
  for (var width = 32u; width > 0u; width /= 2u) {
    if (lane < width) {
      for (var i = 0u; i < THREAD_M; i++) { // unroll
        sums[lane][i] += sums[lane + width][i];
      }
    }
    workgroupBarrier();
  }
  if (lane < THREAD_M) {
    store(row + lane, column, sums[0][lane]);
  }
}

// Four values of a row from its four `four` on.
fn weight(column: u32, four: u32) -> vec4f {
  if (WEIGHT_BITS < 16u) {
    return quantized(column, four);
  }
  let at = column * params.k8 * 2u + four;
  if (WEIGHT_BITS == 32u) {
    return bitcast<vec4f>(w[at]);
  }
  let eight = w[at / 2u];
  let half = select(eight.xy, eight.zw, at % 2u == 1u);
  return vec4f(unpack2x16float(half.x), unpack2x16float(half.y));
}

// Four values of a row from its four `four` on: integers times their block's scale.
fn quantized(column: u32, four: u32) -> vec4f {
  let at = column * params.k8 * 2u + four;
  let word = at * (WEIGHT_BITS / 4u) / 2u;
  let packed = w[word / 4u][word % 4u] >> (at * WEIGHT_BITS * 4u % 32u);
  let left = vec4u(32u - WEIGHT_BITS) - vec4u(0u, 1u, 2u, 3u) * WEIGHT_BITS % vec4u(32u);
  let q = bitcast<vec4i>(vec4u(packed) << left) >> vec4u(32u - WEIGHT_BITS);
  let two = scales[column * ((params.k8 + 7u) / 8u) + four / 16u];
  return vec4f(q) * unpack2x16float(two >> (four / 8u % 2u * 16u)).x;
}

fn store(row: u32, column: u32, sum: vec4f) {
  if (row < params.rows && column < params.n) {
    var value = sum;
    if (params.has_bias != 0u) {
      value += bias[(params.bias_offset + column) / 4u];
    }
    value = activate(value);
    if (params.has_gate != 0u) {
      let sample = row / params.rows_per_sample;
      value *= gate[(params.gate_offset + sample * params.gate_stride + column) / 4u];
    }
    let at = (row * params.y_stride + params.y_column + column) / 4u;
    if (params.accumulate != 0u) {
      value += y[at];
    }
    y[at] = value;
  }
}

// Arguments of exp and tanh are clamped where the functions have long reached their limits: what
// they make of infinities is not defined.
fn activate(v: vec4f) -> vec4f {
  if (params.activation == 1u) {
    let t = clamp(0.7978845608 * (v + 0.044715 * v * v * v), vec4f(-12.0), vec4f(12.0));
    return 0.5 * v * (1.0 + tanh(t));
  }
  if (params.activation == 2u) {
    return v / (1.0 + exp(min(-1.702 * v, vec4f(80.0))));
  }
  if (params.activation == 3u) {
    return v / (1.0 + exp(min(-v, vec4f(80.0))));
  }
  return v;
}
