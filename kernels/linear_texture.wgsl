// y[r, n] = activation(sum_k x[r, k] * w[n, k] + bias[n]), or y += that, or y += gate * that.
//
// x       f32; row r of this pass has its values 4 e .. 4 e + 3 in texel
//         (r % 2^row_shift * 2 k8 + e, r / 2^row_shift)
// w       texel (n, e) holds values 8 e .. 8 e + 7 of row n, f16: neighbours share cache lines
// bias    (n) at bias_offset      f32; used where has_bias
// gate    sample s, column n at gate_offset + s * gate_stride + n; used where has_gate
// y       (all rows, y_stride)    f32; rows from first_row on, columns y_column .. y_column + n
//         rounded up to 4 are written
// params  sizes: k8 eights of k, the rows of this pass, which begins at row first_row of all;
//         rows_per_sample says which sample a row belongs to; offsets, strides and y_column are
//         multiples of 4; activation: 0 none, 1 gelu tanh, 2 quick gelu, 3 silu
//
// Specialise: THREAD_M x THREAD_N outputs an invocation.
// Grid: 16 invocations a workgroup, side by side over columns, four neighbours each; workgroups:
// x over tiles of rows, y over tiles of columns.
// Numerics: f32 throughout; every output is one chain of fma over k in ascending order, whatever
// the tile and whatever the other rows: that is what batch invariance rests on.
//
// For adapters that run invocations as SIMD lanes of a CPU and fetch lane by lane. On llvmpipe with
// 512-bit vectors the texel of x, which no lane has to itself, costs about 12 ns, 16 bytes of a
// storage buffer 58; a texel of w with its unpacking about 50, if the lanes' texels are neighbours,
// and 90 if each lies in a line of its own: then every fetch misses the first level of cache and
// TLB. A multiply-add is 0.4. So a step of eight k of a 16 x 16 tile takes 0.4 us for x, 0.8 for w
// and 0.8 for arithmetic.
struct Params {
  rows: u32, n: u32, k8: u32, y_stride: u32,
  y_column: u32, rows_per_sample: u32, gate_offset: u32, gate_stride: u32,
  bias_offset: u32, has_bias: u32, has_gate: u32, accumulate: u32,
  activation: u32, first_row: u32, row_shift: u32,
  group_x: u32, group_y: u32,
}
@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var w: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> gate: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

const THREAD_M = 16u;
const THREAD_N = 16u;

// A detour that lets the epilogue loop over rows: unrolled it takes longer to compile than all the
// rest. The loop's bound is no constant, or drivers would unroll it as well. Each invocation keeps
// to its own lane, so nothing is to be waited for.
var<workgroup> sums: array<array<vec4f, 16>, THREAD_M>;

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  // From the workgroup alone, so that compilers see that all lanes read one texel of x.
  let row = (params.group_x + group.x) * THREAD_M;
  let column = (params.group_y + group.y) * 16u * THREAD_N + 4u * lane;
  let last_row = params.rows - 1u;
  let row_mask = (1u << params.row_shift) - 1u;
  let last_column = params.n - 1u;
  var acc: array<array<f32, THREAD_N>, THREAD_M>;
  for (var k = 0u; k < params.k8; k++) {
    var a: array<array<f32, 8>, THREAD_M>;
    for (var i = 0u; i < THREAD_M; i++) { // unroll
      let seen = min(row + i, last_row);
      let at = vec2u(2u * ((seen & row_mask) * params.k8 + k), seen >> params.row_shift);
      let lo = textureLoad(x, at);
      let hi = textureLoad(x, at + vec2u(1u, 0u));
      a[i][0] = lo.x; a[i][1] = lo.y; a[i][2] = lo.z; a[i][3] = lo.w;
      a[i][4] = hi.x; a[i][5] = hi.y; a[i][6] = hi.z; a[i][7] = hi.w;
    }
    for (var j = 0u; j < THREAD_N; j++) { // unroll
      let at = min(column + j / 4u * 64u + j % 4u, last_column);
      let packed = textureLoad(w, vec2u(at, k));
      var b: array<f32, 8>;
      for (var p = 0u; p < 4u; p++) { // unroll
        let pair = unpack2x16float(packed[p]);
        b[2u * p] = pair.x;
        b[2u * p + 1u] = pair.y;
      }
      for (var e = 0u; e < 8u; e++) { // unroll
        for (var i = 0u; i < THREAD_M; i++) { // unroll
          acc[i][j] = fma(a[i][e], b[e], acc[i][j]);
        }
      }
    }
  }
  let live_m = min(THREAD_M, params.rows - min(row, params.rows));
  for (var j = 0u; j < THREAD_N; j += 4u) { // unroll
    for (var i = 0u; i < THREAD_M; i++) { // unroll
      sums[i][lane] = vec4f(acc[i][j], acc[i][j + 1u], acc[i][j + 2u], acc[i][j + 3u]);
    }
    for (var i = 0u; i < live_m; i++) {
      store(row + i, column + 16u * j, sums[i][lane]);
    }
  }
}

fn store(pass_row: u32, column: u32, sum: vec4f) {
  let row = params.first_row + pass_row;
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
