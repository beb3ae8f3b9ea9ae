// Convolution as an implicit matrix product, NHWC:
// y[b, v, u, o] = sum_{q, p, c} x[b, v * stride + q - pad, u * stride + p - pad, c] * w[o, q, p, c]
//                 + bias[o], or y += that; x is zero outside, and seen twice as large if upsample.
//
// x       f32; pixel i of this pass's has its channels 4 e .. 4 e + 3 in texel
//         (i % 2^pixel_shift * 2 c8 + e, i / 2^pixel_shift); pixel 0 is pixel first_pixel of all
// w       texel (o, (q * kernel + p) * c8 + e) holds channels 8 e .. 8 e + 7, f16
// bias    (n) at y_column                           f32
// y       (batch, out_height, out_width, y_stride)  f32; columns from y_column on are written
// params  sizes; upsample is 0 or 1; height and width are those of x as it lies; lines of all
//         samples' outputs from first_line to before end_line are made
//
// Specialise: THREAD_M pixels of one row x THREAD_N outputs an invocation, LANES_N.
// Grid: 16 invocations a workgroup, LANES_N of them side by side over outputs, four neighbours
// each, and the others over runs of pixels; workgroups: x over runs, y over tiles of
// outputs.
// Numerics: f32; every output is one chain of fma over q, p, c in ascending order, whatever the
// tile and the pass.
//
// The arithmetic of a tile is that of linear_texture.wgsl. The taps of a row share pixels, but
// fetching them once for all three would triple the unrolled text, and its compilation.
struct Params {
  height: u32, width: u32, c8: u32, pixel_shift: u32,
  out_height: u32, out_width: u32, n: u32, kernel: u32,
  stride: u32, pad: u32, upsample: u32, accumulate: u32,
  y_stride: u32, y_column: u32, first_pixel: u32,
  first_line: u32, end_line: u32,
  group_x: u32, group_y: u32,
}
@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var w: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

const THREAD_M = 16u;
const THREAD_N = 16u;
const LANES_N = 16u;

// A detour that lets the epilogue loop over pixels, as in linear_texture.wgsl.
var<workgroup> sums: array<array<vec4f, 16>, THREAD_M>;

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let column = (params.group_y + group.y) * LANES_N * THREAD_N + 4u * (lane % LANES_N);
  let last_column = params.n - 1u;
  // Runs of THREAD_M pixels, each within a row of the image.
  let runs = (params.out_width + THREAD_M - 1u) / THREAD_M;
  let run = (params.group_x + group.x) * (16u / LANES_N) + lane / LANES_N;
  let line = params.first_line + run / runs;
  let u = run % runs * THREAD_M;
  let v = line % params.out_height;
  let sample = line / params.out_height;
  let inside = line < params.end_line;
  let seen_height = params.height << params.upsample;
  let seen_width = params.width << params.upsample;
  let pixel_mask = (1u << params.pixel_shift) - 1u;

  var acc: array<array<f32, THREAD_N>, THREAD_M>;
  for (var q = 0u; q < params.kernel; q++) {
    // Unsigned: what lies before the first row wraps to a large number, so one comparison does.
    let seen_v = v * params.stride + q - params.pad;
    let valid_v = inside && seen_v < seen_height;
    let line_start = (sample * params.height + (seen_v >> params.upsample)) * params.width -
      params.first_pixel;
    for (var p = 0u; p < params.kernel; p++) {
      var start: array<vec2u, THREAD_M>;
      var valid: array<bool, THREAD_M>;
      for (var i = 0u; i < THREAD_M; i++) { // unroll
        let seen_u = (u + i) * params.stride + p - params.pad;
        valid[i] = valid_v && seen_u < seen_width;
        let pixel = select(0u, line_start + (seen_u >> params.upsample), valid[i]);
        start[i] = vec2u((pixel & pixel_mask) * 2u * params.c8, pixel >> params.pixel_shift);
      }
      let tap = (q * params.kernel + p) * params.c8;
      for (var c = 0u; c < params.c8; c++) {
        var a: array<array<f32, 8>, THREAD_M>;
        for (var i = 0u; i < THREAD_M; i++) { // unroll
          let at = start[i] + vec2u(2u * c, 0u);
          let lo = select(vec4f(), textureLoad(x, at), valid[i]);
          let hi = select(vec4f(), textureLoad(x, at + vec2u(1u, 0u)), valid[i]);
          a[i][0] = lo.x; a[i][1] = lo.y; a[i][2] = lo.z; a[i][3] = lo.w;
          a[i][4] = hi.x; a[i][5] = hi.y; a[i][6] = hi.z; a[i][7] = hi.w;
        }
        for (var j = 0u; j < THREAD_N; j++) { // unroll
          let at = min(column + j / 4u * 4u * LANES_N + j % 4u, last_column);
          let packed = textureLoad(w, vec2u(at, tap + c));
          var b: array<f32, 8>;
          for (var h = 0u; h < 4u; h++) { // unroll
            let pair = unpack2x16float(packed[h]);
            b[2u * h] = pair.x;
            b[2u * h + 1u] = pair.y;
          }
          for (var e = 0u; e < 8u; e++) { // unroll
            for (var i = 0u; i < THREAD_M; i++) { // unroll
              acc[i][j] = fma(a[i][e], b[e], acc[i][j]);
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
      store(pixel + i, column + LANES_N * j, sums[i][lane]);
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
