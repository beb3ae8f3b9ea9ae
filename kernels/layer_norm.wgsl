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
// Grid: one workgroup of 64 for each row, (rows of one sample, samples). For GPUs;
// layer_norm_row.wgsl is the one for software adapters.
// Arithmetic: 1536 channels are 6 vectors an invocation; the second reading comes from the cache.
// Workgroup memory 512 bytes, 2 x 6 barriers.
// Numerics: distances to the row's first value, so that a large common offset costs no precision;
// Welford's recurrence in every invocation, joined by Chan's formula. Sums run in a fixed order.
override HAS_WEIGHT = false;
override HAS_BIAS = false;
override MODULATED = false;

struct Params {
  channels4: u32, rows_per_sample: u32,
  scale_offset: u32, scale_stride: u32, shift_offset: u32, shift_stride: u32,
  eps: f32,
  group_x: u32, group_y: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> scale: array<vec4f>;
@group(0) @binding(4) var<storage, read> shift: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> means: array<f32, 64>;
var<workgroup> squares: array<f32, 64>;

fn sum(v: vec4f) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let count = params.channels4;
  let row = params.group_x + group.x;
  let sample = params.group_y + group.y;
  let base = (sample * params.rows_per_sample + row) * count;
  let origin = x[base].x;

  var mean4 = vec4f();
  var squares4 = vec4f();
  var held = 0.0;
  for (var i = lane; i < count; i += 64u) {
    let value = x[base + i] - origin;
    let off = value - mean4;
    held += 1.0;
    mean4 += off * (1.0 / held);
    squares4 += off * (value - mean4);
  }
  // Sum of the values first: the parts' means weighted by how many vectors they hold.
  means[lane] = held * sum(mean4);
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { means[lane] += means[lane + half]; }
  }
  workgroupBarrier();
  let mean = means[0] / f32(4u * count);
  let off = mean4 - mean;
  squares[lane] = sum(squares4 + held * off * off);
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { squares[lane] += squares[lane + half]; }
  }
  workgroupBarrier();
  let inverse = inverseSqrt(squares[0] / f32(4u * count) + params.eps);

  let scale_base = params.scale_offset + sample * params.scale_stride;
  let shift_base = params.shift_offset + sample * params.shift_stride;
  for (var i = lane; i < count; i += 64u) {
    var value = (x[base + i] - origin - mean) * inverse;
    if (HAS_WEIGHT) { value *= weight[i]; }
    if (HAS_BIAS) { value += bias[i]; }
    if (MODULATED) { value = value * (1.0 + scale[scale_base + i]) + shift[shift_base + i]; }
    y[base + i] = value;
  }
}
