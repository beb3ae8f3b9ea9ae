// Convolution as an implicit matrix product, NHWC, for GPUs: tiles go through workgroup memory.
// y[b, v, u, o] = sum_{q, p, c} x[b, v * stride + q - pad, u * stride + p - pad, c] * w[o, q, p, c]
//                 + bias[o], or y += that; x is zero outside, and seen twice as large if upsample.
//
// x       (batch, height, width, c8 * 8)            f32
// w       (n, kernel, kernel, c8 * 8)               f16, eight a vec4u, or f32, four (WEIGHT_F16)
// bias    (n) at y_column                           f32
// y       (batch, out_height, out_width, y_stride)  f32; columns from y_column on are written
// params  as conv2d_tile.wgsl; lanes_n is not used
//
// Specialise: LANES, WEIGHT_F16; alias weight4, the type of w in workgroup memory, as in
// linear_workgroup.wgsl.
// Grid: LANES x LANES invocations a workgroup, each 8 pixels x 8 outputs; workgroups:
// x over tiles of pixels, y over tiles of outputs.
// Numerics: f32; every output is one chain of fma over q, p, c in ascending order, as in
// conv2d_tile.wgsl.
//
// The arithmetic of a tile is that of linear_workgroup.wgsl. Where a pixel lies is worked out once:
// an invocation fetches the same four pixels for every tap.
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

const LANES = 8u;
const TILE = 8u * LANES;
const STEP = 16u;
const WEIGHT_F16 = true;
alias weight4 = vec4f;

// By channel, four pixels (or outputs) a vec4f.
var<workgroup> tile_x: array<array<vec4f, TILE / 4u>, STEP>;
var<workgroup> tile_w: array<array<weight4, TILE / 4u>, STEP>;

@compute @workgroup_size(LANES * LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let pixels = params.batch * params.out_height * params.out_width;
  let first_pixel = (params.group_x + group.x) * TILE;
  let first_column = (params.group_y + group.y) * TILE;
  let lane_m = lane / LANES;
  let lane_n = lane % LANES;
  let seen_height = params.height << params.upsample;
  let seen_width = params.width << params.upsample;
  // What this invocation fetches: four pixels and four outputs, four channels of each.
  let fetches = lane < TILE;
  let quad = lane / 4u;
  let part = lane % 4u;
  var seen_v: array<u32, 4>;
  var seen_u: array<u32, 4>;
  var first_line: array<u32, 4>;
  for (var i = 0u; i < 4u; i++) { // unroll
    let pixel = min(first_pixel + 4u * quad + i, pixels - 1u);
    let line = pixel / params.out_width;
    seen_v[i] = line % params.out_height * params.stride - params.pad;
    seen_u[i] = pixel % params.out_width * params.stride - params.pad;
    first_line[i] = line / params.out_height * params.height;
  }

  var acc: array<array<vec4f, 2>, 8>;
  for (var tap = 0u; tap < params.kernel * params.kernel; tap++) {
    let q = tap / params.kernel;
    let p = tap % params.kernel;
    for (var c = 0u; c < params.c8; c += STEP / 8u) {
      if (fetches) {
        let exists = 2u * c + part < 2u * params.c8;
        var four: array<vec4f, 4>;
        for (var i = 0u; i < 4u; i++) { // unroll
          // Unsigned: what lies before the first row wraps to a large number.
          let v = seen_v[i] + q;
          let u = seen_u[i] + p;
          let valid = exists && v < seen_height && u < seen_width;
          let origin = (first_line[i] + (v >> params.upsample)) * params.width +
            (u >> params.upsample);
          let at = select(0u, (origin * params.c8 + c) * 2u + part, valid);
          four[i] = select(vec4f(), x[at], valid);
        }
        for (var e = 0u; e < 4u; e++) { // unroll
          tile_x[4u * part + e][quad] = vec4f(four[0][e], four[1][e], four[2][e], four[3][e]);
        }
        for (var i = 0u; i < 4u; i++) { // unroll
          let column = min(first_column + 4u * quad + i, params.n - 1u);
          let taps = column * params.kernel * params.kernel + tap;
          four[i] = select(vec4f(), weight(taps * params.c8 + c, part), exists);
        }
        for (var e = 0u; e < 4u; e++) { // unroll
          tile_w[4u * part + e][quad] = weight4(
            vec4f(four[0][e], four[1][e], four[2][e], four[3][e]));
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
  }
  for (var i = 0u; i < 8u; i++) { // unroll
    for (var j = 0u; j < 2u; j++) { // unroll
      let pixel = first_pixel + 8u * lane_m + i;
      let column = first_column + 8u * lane_n + 4u * j;
      if (pixel < pixels && column < params.n) {
        let to = params.y_column + column;
        var value = acc[i][j] + bias[to / 4u];
        let at = (pixel * params.y_stride + to) / 4u;
        if (params.accumulate != 0u) {
          value += y[at];
        }
        y[at] = value;
      }
    }
  }
}

// Four values from eights `at`: part 0 and 1 lie there, 2 and 3 in the next eights.
fn weight(at: u32, part: u32) -> vec4f {
  if (WEIGHT_F16) {
    let eight = w[at + part / 2u];
    let four = select(eight.xy, eight.zw, part % 2u == 1u);
    return vec4f(unpack2x16float(four.x), unpack2x16float(four.y));
  }
  return bitcast<vec4f>(w[2u * at + part]);
}
