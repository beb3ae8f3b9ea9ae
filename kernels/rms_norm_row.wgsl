// y = x / sqrt(mean(x * x) + eps) * weight
//
// x, y     (rows, channels) f32
// weight   (channels) f32
// params   channels4 counts vec4f
//
// Grid: one invocation a row, 64 a workgroup, folded into y. For adapters whose lanes are cheap and
// whose barriers are not; rms_norm.wgsl is the one for GPUs.
// Numerics: four interleaved f32 sums.
struct Params { rows: u32, channels4: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 64u + lane;
  if (row >= params.rows) { return; }
  let count = params.channels4;
  let base = row * count;
  var squares4 = vec4f();
  for (var i = 0u; i < count; i++) {
    let value = x[base + i];
    squares4 += value * value;
  }
  let squares = squares4.x + squares4.y + squares4.z + squares4.w;
  let inverse = inverseSqrt(squares / f32(4u * count) + params.eps);
  for (var i = 0u; i < count; i++) {
    y[base + i] = x[base + i] * inverse * weight[i];
  }
}
