// y = x / sqrt(mean(x * x) + eps) * weight
//
// x, y     (rows, channels) f32
// weight   (channels) f32
// params   channels4 counts vec4f
//
// Grid: one workgroup of 64 for each row. For GPUs; rms_norm_row.wgsl is the one for
// software adapters.
// Arithmetic: 4096 channels are 16 vectors an invocation; the second reading comes from the cache.
// Workgroup memory 256 bytes, 7 barriers.
// Numerics: f32 sums in a fixed order: by invocation, then as a tree.
struct Params { channels4: u32, eps: f32, group_x: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = params.group_x + group.x;
  let count = params.channels4;
  let base = row * count;
  var squares4 = vec4f();
  for (var i = lane; i < count; i += 64u) {
    let value = x[base + i];
    squares4 += value * value;
  }
  sums[lane] = (squares4.x + squares4.y) + (squares4.z + squares4.w);
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sums[lane] += sums[lane + half]; }
  }
  workgroupBarrier();
  let inverse = inverseSqrt(sums[0] / f32(4u * count) + params.eps);
  for (var i = lane; i < count; i += 64u) {
    y[base + i] = x[base + i] * inverse * weight[i];
  }
}
