// y = x / sqrt(mean(x * x) + eps) * weight
//
// x, y     (rows, channels) f32
// weight   (channels) f32
// params   channels4 counts vec4f
//
// Specialisable: const ROWS.
// Grid: workgroups of 16 x ROWS rows. For software adapters, whose lanes are cheap and whose
// barriers are not; rms_norm.wgsl is the one for GPUs.
// Arithmetic: an invocation reads its rows twice and the weight once for all its ROWS rows.
// Numerics: four interleaved f32 sums.
const ROWS = 2u;

struct Params { rows: u32, channels4: u32, eps: f32, group_x: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let first = ((params.group_x + group.x) * 16u + lane) * ROWS;
  if (first >= params.rows) { return; }
  let rows = params.rows - first;
  let count = params.channels4;
  let base = first * count;
  var inverse: array<f32, ROWS>;
  for (var r = 0u; r < ROWS; r++) { // unroll
    if (r < rows) {
      var squares4 = vec4f();
      for (var i = 0u; i < count; i++) {
        let value = x[base + r * count + i];
        squares4 += value * value;
      }
      let squares = (squares4.x + squares4.y) + (squares4.z + squares4.w);
      inverse[r] = inverseSqrt(squares / f32(4u * count) + params.eps);
    }
  }
  for (var i = 0u; i < count; i++) {
    let factor = weight[i];
    for (var r = 0u; r < ROWS; r++) { // unroll
      if (r < rows) {
        let at = base + r * count + i;
        y[at] = x[at] * inverse[r] * factor;
      }
    }
  }
}
