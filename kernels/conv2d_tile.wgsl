// Convolution as an implicit matrix product, NHWC:
// y[b, v, u, o] = sum_{q, p, c} x[b, v * stride + q - pad, u * stride + p - pad, c] * w[o, q, p, c]
//                 + bias[o], or y += that; x is zero outside, and seen twice as large if upsample.
//
// x       (batch, height, width, c8 * 8)       f32
// w       (n, kernel, kernel, c8 * 8)          f16, eight a vec4u, or f32, four (WEIGHT_F16)
// bias    (n) at y_column                      f32
// y       (batch, out_height, out_width, y_stride)  f32; columns from y_column on are written
// params  sizes; upsample is 0 or 1; height and width are those of x as it lies
//
// Specialise: THREAD_M pixels of one row x THREAD_N outputs an invocation, WEIGHT_F16.
// Grid: 16 invocations a workgroup, lanes_n of them over outputs and the others over pixels;
// workgroups: x over runs of pixels, y over tiles of outputs.
// Numerics: f32; every output is one chain of fma over q, p, c in ascending order,
// whatever the tile.
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

const THREAD_M = 4u;
const THREAD_N = 4u;
const WEIGHT_F16 = true;

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let lanes_m = 16u / params.lanes_n;
  let column = ((params.group_y + group.y) * params.lanes_n + lane % params.lanes_n) * THREAD_N;
  // Runs of THREAD_M pixels, each within a row of the image.
  let runs = (params.out_width + THREAD_M - 1u) / THREAD_M;
  let run = (params.group_x + group.x) * lanes_m + lane / params.lanes_n;
  let line = run / runs;
  let u = run % runs * THREAD_M;
  let v = line % params.out_height;
  let sample = line / params.out_height;
  let inside = sample < params.batch;
  let last_column = params.n - 1u;
  let row_step = params.kernel * params.kernel * params.c8;
  let seen_height = params.height << params.upsample;
  let seen_width = params.width << params.upsample;

  var acc: array<array<f32, THREAD_N>, THREAD_M>;
  for (var q = 0u; q < params.kernel; q++) {
    // Unsigned: what lies before the first row wraps to a large number, so one comparison does.
    let seen_v = v * params.stride + q - params.pad;
    let valid_v = inside && seen_v < seen_height;
    let line_start = (sample * params.height + (seen_v >> params.upsample)) * params.width;
    for (var p = 0u; p < params.kernel; p++) {
      let tap = (q * params.kernel + p) * params.c8;
      for (var c = 0u; c < params.c8; c++) {
        var a: array<array<f32, 8>, THREAD_M>;
        for (var i = 0u; i < THREAD_M; i++) { // unroll
          let seen_u = (u + i) * params.stride + p - params.pad;
          let valid = valid_v && seen_u < seen_width;
          let pixel = select(0u, line_start + (seen_u >> params.upsample), valid);
          let at = (pixel * params.c8 + c) * 2u;
          let lo = select(vec4f(), x[at], valid);
          let hi = select(vec4f(), x[at + 1u], valid);
          a[i][0] = lo.x; a[i][1] = lo.y; a[i][2] = lo.z; a[i][3] = lo.w;
          a[i][4] = hi.x; a[i][5] = hi.y; a[i][6] = hi.z; a[i][7] = hi.w;
        }
        for (var j = 0u; j < THREAD_N; j++) { // unroll
          let at = min(column + j, last_column) * row_step + tap + c;
          var b: array<f32, 8>;
          if (WEIGHT_F16) {
            let packed = w[at];
            for (var h = 0u; h < 4u; h++) { // unroll
              let pair = unpack2x16float(packed[h]);
              b[2u * h] = pair.x;
              b[2u * h + 1u] = pair.y;
            }
          } else {
            let lo = bitcast<vec4f>(w[2u * at]);
            let hi = bitcast<vec4f>(w[2u * at + 1u]);
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
    }
  }
  for (var j = 0u; j < THREAD_N; j += 4u) { // unroll
    let at = params.y_column + column + j;
    let b = bias[at / 4u];
    for (var i = 0u; i < THREAD_M; i++) { // unroll
      if (inside && u + i < params.out_width && column + j < params.n) {
        let pixel = (sample * params.out_height + v) * params.out_width + u + i;
        let to = (pixel * params.y_stride + at) / 4u;
        var value = vec4f(acc[i][j], acc[i][j + 1u], acc[i][j + 2u], acc[i][j + 3u]) + b;
        if (params.accumulate != 0u) {
          value += y[to];
        }
        y[to] = value;
      }
    }
  }
}
