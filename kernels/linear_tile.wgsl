// y[r, n] = activation(sum_k x[r, k] * w[n, k] + bias[n]), or y += that, or y += gate * that.
//
// x       (rows, k8 * 8)          f32
// w       (n, k8 * 8)             WEIGHT_BITS of each value, four words a vec4u. 32: f32; 16: f16;
//         8, 4: integers in two's complement (q8_0, q4_0), times their block's scale
// scales  (n, k8 / 4)             f16, of each 32 k of a row, two a word; used with 8 and 4 bits
// bias    (n) at bias_offset      f32; used where has_bias
// gate    sample s, column n at gate_offset + s * gate_stride + n; used where has_gate
// y       (rows, y_stride)        f32; columns y_column .. y_column + n rounded up to 4 are written
// params  sizes; rows_per_sample says which sample a row belongs to; offsets, strides and y_column
//         are multiples of 4; activation: 0 none, 1 gelu tanh, 2 quick gelu, 3 silu
//
// Specialise: THREAD_M x THREAD_N outputs an invocation, WEIGHT_BITS.
// Grid: 16 invocations a workgroup, lanes_n of them over columns and the others over rows;
// workgroups: x over tiles of rows, y over tiles of columns.
// Numerics: f32 throughout; every output is one chain of fma over k in ascending order, whatever
// the tile and whatever the other rows: that is what batch invariance rests on.
//
// For adapters that run invocations as SIMD lanes and fetch lane by lane (software rasterizers):
// a step of eight k costs 2 THREAD_M + THREAD_N fetches of 16 bytes, each as long as some 200 fma,
// against 8 THREAD_M THREAD_N fma. So tiles are as large as compilers bear.
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

const THREAD_M = 4u;
const THREAD_N = 4u;
const WEIGHT_BITS = 16u;

// A detour that lets the epilogue loop over rows: unrolled it takes longer to compile than all the
// rest. The loop's bound is no constant, or drivers would unroll it as well.
var<workgroup> sums: array<array<vec4f, 16>, THREAD_M>;

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let lanes_m = 16u / params.lanes_n;
  let tile = params.group_x + group.x;
  let row = (tile * lanes_m + lane / params.lanes_n) * THREAD_M;
  let column = ((params.group_y + group.y) * params.lanes_n + lane % params.lanes_n) * THREAD_N;
  let last_row = params.rows - 1u;
  let last_column = params.n - 1u;
  var acc: array<array<f32, THREAD_N>, THREAD_M>;
  for (var k = 0u; k < params.k8; k++) {
    var a: array<array<f32, 8>, THREAD_M>;
    for (var i = 0u; i < THREAD_M; i++) { // unroll
      let at = (min(row + i, last_row) * params.k8 + k) * 2u;
      let lo = x[at];
      let hi = x[at + 1u];
      a[i][0] = lo.x; a[i][1] = lo.y; a[i][2] = lo.z; a[i][3] = lo.w;
      a[i][4] = hi.x; a[i][5] = hi.y; a[i][6] = hi.z; a[i][7] = hi.w;
    }
    for (var j = 0u; j < THREAD_N; j++) { // unroll
      let seen = min(column + j, last_column);
      let at = seen * params.k8 + k;
      var b: array<f32, 8>;
      if (WEIGHT_BITS == 16u) {
        let packed = w[at];
        for (var p = 0u; p < 4u; p++) { // unroll
          let pair = unpack2x16float(packed[p]);
          b[2u * p] = pair.x;
          b[2u * p + 1u] = pair.y;
        }
      } else if (WEIGHT_BITS == 32u) {
        let lo = bitcast<vec4f>(w[2u * at]);
        let hi = bitcast<vec4f>(w[2u * at + 1u]);
        b[0] = lo.x; b[1] = lo.y; b[2] = lo.z; b[3] = lo.w;
        b[4] = hi.x; b[5] = hi.y; b[6] = hi.z; b[7] = hi.w;
      } else {
        let lo = quantized(seen, 2u * k);
        let hi = quantized(seen, 2u * k + 1u);
        b[0] = lo.x; b[1] = lo.y; b[2] = lo.z; b[3] = lo.w;
        b[4] = hi.x; b[5] = hi.y; b[6] = hi.z; b[7] = hi.w;
      }
      for (var e = 0u; e < 8u; e++) { // unroll
        for (var i = 0u; i < THREAD_M; i++) { // unroll
          acc[i][j] = fma(a[i][e], b[e], acc[i][j]);
        }
      }
    }
  }
  let live_m = min(THREAD_M, params.rows - min(row, params.rows));
  // Each invocation keeps to its own lane of `sums`, so nothing is to be waited for.
  for (var j = 0u; j < THREAD_N; j += 4u) { // unroll
    for (var i = 0u; i < THREAD_M; i++) { // unroll
      sums[i][lane] = vec4f(acc[i][j], acc[i][j + 1u], acc[i][j + 2u], acc[i][j + 3u]);
    }
    for (var i = 0u; i < live_m; i++) {
      store(row + i, column + j, sums[i][lane]);
    }
  }
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
  if (column < params.n) {
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
