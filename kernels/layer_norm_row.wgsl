// y = (x - mean(x)) / sqrt(var(x) + eps), then * weight + bias, then * (1 + scale) + shift.
//
// x, y     (rows, channels) f32; a sample is rows_per_sample rows
// weight   (channels) f32, where HAS_WEIGHT
// bias     (channels) f32, where HAS_BIAS
// scale    (samples, scale_stride) f32, this norm's vector at scale_offset, where MODULATED
// shift    the same with shift_stride and shift_offset
// params   channels4 and the strides and offsets of vectors count vec4f
//
// Overrides: HAS_WEIGHT, HAS_BIAS, MODULATED.
// Grid: one invocation a row, 64 a workgroup, folded into y. For adapters whose lanes are cheap and
// whose barriers are not; layer_norm.wgsl is the one for GPUs.
// Numerics: distances to the row's first value, so that a large common offset costs no precision;
// over them Welford's recurrence in four interleaved parts, joined by Chan's formula: the variance is
// of centred values.
override HAS_WEIGHT = false;
override HAS_BIAS = false;
override MODULATED = false;

struct Params {
  rows: u32, channels4: u32, rows_per_sample: u32,
  scale_offset: u32, scale_stride: u32, shift_offset: u32, shift_stride: u32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> scale: array<vec4f>;
@group(0) @binding(4) var<storage, read> shift: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(6) var<uniform> params: Params;

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

  let origin = x[base].x;
  var mean4 = vec4f();
  var squares4 = vec4f();
  for (var i = 0u; i < count; i++) {
    let value = x[base + i] - origin;
    let difference = value - mean4;
    mean4 += difference * (1.0 / f32(i + 1u));
    squares4 += difference * (value - mean4);
  }
  let mean = 0.25 * (mean4.x + mean4.y + mean4.z + mean4.w);
  let off = mean4 - mean;
  let total = squares4 + f32(count) * off * off;
  let variance = (total.x + total.y + total.z + total.w) / f32(4u * count);
  let inverse = inverseSqrt(variance + params.eps);

  let sample = row / params.rows_per_sample;
  let scale_base = params.scale_offset + sample * params.scale_stride;
  let shift_base = params.shift_offset + sample * params.shift_stride;
  for (var i = 0u; i < count; i++) {
    var value = (x[base + i] - origin - mean) * inverse;
    if (HAS_WEIGHT) { value *= weight[i]; }
    if (HAS_BIAS) { value += bias[i]; }
    if (MODULATED) { value = value * (1.0 + scale[scale_base + i]) + shift[shift_base + i]; }
    y[base + i] = value;
  }
}
