// y[r, n] = activation(sum_k x[r, k] * w[n, k] + bias[n]), or y += that, or y += gate * that, for
// GPUs: tiles of x and w go through workgroup memory.
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
// Specialise: LANES, WEIGHT_BITS; alias weight4, the type of w in workgroup memory: vec4f, or vec4h
// for f16 weights where the device has shader-f16, which holds them exactly.
// Grid: LANES x LANES invocations a workgroup, each 8 x 8 outputs; workgroups: x over tiles
// of rows, y over tiles of columns.
// Numerics: f32; every output is one chain of fma over k in ascending order, as in
// linear_tile.wgsl.
//
// Arithmetic, for LANES = 8 (64 x 64 outputs, 64 invocations) and 16 (128 x 128, 256):
//   device memory      64 B of x and 32 B of w (f16) a row or column and step of 16 k, for
//                      2 * 16 * TILE flop: 64 x 64: 21 flop a byte, 128 x 128: 43
//   workgroup memory   4 vec4f for 64 fma: 2 flop a byte, 2.7 with vec4h; 8 KiB or 16 KiB, the
//                      least any device has, 6 or 12 with vec4h
//   registers          64 sums, 16 operands: some 100 of 32 bits, so 256 invocations of 128 x 128
//                      leave room for two workgroups in a register file of 64 Ki
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

const LANES = 8u;
const TILE = 8u * LANES;
const STEP = 16u;
const WEIGHT_BITS = 16u;
alias weight4 = vec4f;

// By k, four rows (or columns) a vec4f.
var<workgroup> tile_x: array<array<vec4f, TILE / 4u>, STEP>;
var<workgroup> tile_w: array<array<weight4, TILE / 4u>, STEP>;

@compute @workgroup_size(LANES * LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let first_row = (params.group_x + group.x) * TILE;
  let first_column = (params.group_y + group.y) * TILE;
  let lane_m = lane / LANES;
  let lane_n = lane % LANES;
  var acc: array<array<vec4f, 2>, 8>;
  for (var k = 0u; k < params.k8; k += STEP / 8u) {
    // Blocks of four rows by four k, transposed on the way.
    for (var block = lane; block < TILE; block += LANES * LANES) {
      let quad = block / 4u;
      let part = block % 4u;
      var v: array<vec4f, 4>;
      for (var i = 0u; i < 4u; i++) { // unroll
        let row = min(first_row + 4u * quad + i, params.rows - 1u);
        v[i] = select(
          vec4f(), x[(row * params.k8 + k) * 2u + part], 2u * k + part < 2u * params.k8);
      }
      for (var e = 0u; e < 4u; e++) { // unroll
        tile_x[4u * part + e][quad] = vec4f(v[0][e], v[1][e], v[2][e], v[3][e]);
      }
      for (var i = 0u; i < 4u; i++) { // unroll
        let column = min(first_column + 4u * quad + i, params.n - 1u);
        v[i] = select(
          vec4f(), weight(column, 2u * k + part), 2u * k + part < 2u * params.k8);
      }
      for (var e = 0u; e < 4u; e++) { // unroll
        tile_w[4u * part + e][quad] = weight4(vec4f(v[0][e], v[1][e], v[2][e], v[3][e]));
      }
    }
    workgroupBarrier();
    for (var e = 0u; e < STEP; e++) {
      let a = array<vec4f, 2>(tile_x[e][2u * lane_m], tile_x[e][2u * lane_m + 1u]);
      let b = array<vec4f, 2>(
        vec4f(tile_w[e][2u * lane_n]), vec4f(tile_w[e][2u * lane_n + 1u]));
      for (var i = 0u; i < 8u; i++) { // unroll
        acc[i][0] = fma(vec4f(a[i / 4u][i % 4u]), b[0], acc[i][0]);
        acc[i][1] = fma(vec4f(a[i / 4u][i % 4u]), b[1], acc[i][1]);
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 8u; i++) { // unroll
    for (var j = 0u; j < 2u; j++) { // unroll
      store(first_row + 8u * lane_m + i, first_column + 8u * lane_n + 4u * j, acc[i][j]);
    }
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
