// 3 x 3 convolution, stride 1, one pixel of zeros on every side, NHWC:
// y[b, v, u, o] = sum_{q, c, p} x[b, v + q - 1, u + p - 1, c] * w[o, q, p, c] + bias[o], or
// y += that; x is zero outside, and seen twice as large if upsample.
//
// x       (batch, height, width, c8 * 8)            f32
// w       (n, 3, 3, c8 * 8)                         f16, eight a vec4u
// bias    (n) at y_column                           f32
// y       (batch, out_height, out_width, y_stride)  f32; columns from y_column on are written
// params  as conv2d_tile.wgsl; kernel, stride and pad are known
//
// Specialise: THREAD_M pixels of one row x THREAD_N outputs an invocation.
// Grid: 16 invocations a workgroup, lanes_n of them over outputs and the others over pixels;
// workgroups: x over runs of pixels, y over tiles of outputs.
// Numerics: f32; every output is one chain of fma over q, eights of c, p, c, whatever the tile.
//
// As linear_tile.wgsl for adapters that fetch lane by lane, with one more saving: the three taps of
// a row share the THREAD_M + 2 pixels that they see, so eight channels cost 2 (THREAD_M + 2) +
// 3 THREAD_N fetches against 24 THREAD_M THREAD_N fma.
struct Params {
  batch: u32, height: u32, width: u32, c8: u32,
  out_height: u32, out_width: u32, n: u32, kernel: u32,
  stride: u32, pad: u32, upsample: u32, accumulate: u32,
  y_stride: u32, y_column: u32, lanes_n: u32,
  group_x: u32, group_y: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> w: array<vec4u>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

const THREAD_M = 16u;
const THREAD_N = 16u;
const SEEN = THREAD_M + 2u;

// A detour that lets the epilogue loop over pixels, as in linear_tile.wgsl.
var<workgroup> sums: array<array<vec4f, 16>, THREAD_M>;

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let lanes_m = 16u / params.lanes_n;
  let column = ((params.group_y + group.y) * params.lanes_n + lane % params.lanes_n) * THREAD_N;
  let runs = (params.out_width + THREAD_M - 1u) / THREAD_M;
  let run = (params.group_x + group.x) * lanes_m + lane / params.lanes_n;
  let line = run / runs;
  let u = run % runs * THREAD_M;
  let v = line % params.out_height;
  let sample = line / params.out_height;
  let inside = sample < params.batch;
  let last_column = params.n - 1u;

  var acc: array<array<f32, THREAD_N>, THREAD_M>;
  for (var q = 0u; q < 3u; q++) {
    // Unsigned: what lies before the first row wraps to a large number, so one comparison does.
    let seen_v = v + q - 1u;
    let valid_v = inside && seen_v < params.out_height;
    let line_start = (sample * params.height + (seen_v >> params.upsample)) * params.width;
    for (var c = 0u; c < params.c8; c++) {
      var a: array<array<f32, 8>, SEEN>;
      for (var i = 0u; i < SEEN; i++) { // unroll
        let seen_u = u + i - 1u;
        let valid = valid_v && seen_u < params.out_width;
        let pixel = select(0u, line_start + (seen_u >> params.upsample), valid);
        let at = (pixel * params.c8 + c) * 2u;
        let lo = select(vec4f(), x[at], valid);
        let hi = select(vec4f(), x[at + 1u], valid);
        a[i][0] = lo.x; a[i][1] = lo.y; a[i][2] = lo.z; a[i][3] = lo.w;
        a[i][4] = hi.x; a[i][5] = hi.y; a[i][6] = hi.z; a[i][7] = hi.w;
      }
      for (var j = 0u; j < THREAD_N; j++) { // unroll
        let taps = (min(column + j, last_column) * 9u + q * 3u) * params.c8 + c;
        for (var p = 0u; p < 3u; p++) { // unroll
          let packed = w[taps + p * params.c8];
          for (var h = 0u; h < 4u; h++) { // unroll
            let b = unpack2x16float(packed[h]);
            for (var i = 0u; i < THREAD_M; i++) { // unroll
              acc[i][j] = fma(a[i + p][2u * h], b.x, acc[i][j]);
            }
            for (var i = 0u; i < THREAD_M; i++) { // unroll
              acc[i][j] = fma(a[i + p][2u * h + 1u], b.y, acc[i][j]);
            }
          }
        }
      }
    }
  }
  // No constant, or drivers unroll the loops below.
  let live_m = select(0u, min(THREAD_M, params.out_width - u), inside);
  let pixel = line * params.out_width + u;
  for (var j = 0u; j < THREAD_N; j += 4u) { // unroll
    for (var i = 0u; i < THREAD_M; i++) { // unroll
      sums[i][lane] = vec4f(acc[i][j], acc[i][j + 1u], acc[i][j + 2u], acc[i][j + 3u]);
    }
    for (var i = 0u; i < live_m; i++) {
      store(pixel + i, column + j, sums[i][lane]);
    }
  }
}

fn store(pixel: u32, column: u32, sum: vec4f) {
  if (column < params.n) {
    var value = sum + bias[(params.y_column + column) / 4u];
    let at = (pixel * params.y_stride + params.y_column + column) / 4u;
    if (params.accumulate != 0u) {
      value += y[at];
    }
    y[at] = value;
  }
}
