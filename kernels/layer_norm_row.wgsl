// y = (x - mean(x)) / sqrt(var(x) + eps), then * weight + bias, then * (1 + scale) + shift.
//
// x, y     (rows, channels) f32; a sample is rows_per_sample rows
// weight   (channels) f32, where HAS_WEIGHT
// bias     (channels) f32, where HAS_BIAS
// scale    (samples, scale_stride) f32, this norm's vector at scale_offset, where MODULATED
// shift    the same with shift_stride and shift_offset
// params   channels4 and the strides and offsets of vectors count vec4f
//
// Specialisable: overrides HAS_WEIGHT, HAS_BIAS, MODULATED; const ROWS.
// Grid: (workgroups of 16 x ROWS rows of one sample, samples). For software adapters, whose lanes
// are cheap and whose barriers are not; layer_norm.wgsl is the one for GPUs.
// Arithmetic: a load costs there what a hundred flops cost, whatever its address: an invocation
// reads its rows twice, and the vectors once for all its ROWS rows.
// Numerics: distances to the row's first value, so that a large common offset costs no precision;
// over them mean and centred squares of four vectors at a time, joined by Chan's formula.
override HAS_WEIGHT = false;
override HAS_BIAS = false;
override MODULATED = false;

const ROWS = 2u;

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

fn sum(v: vec4f) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}

// Mean and 1 / sqrt(variance + eps) of a row's distances to `origin`.
fn moments(base: u32, origin: f32) -> vec2f {
  let count = params.channels4;
  let whole = count - count % 4u;
  var mean4 = vec4f();
  var squares4 = vec4f();
  for (var i = 0u; i < whole; i += 4u) {
    let a = x[base + i] - origin;
    let b = x[base + i + 1u] - origin;
    let c = x[base + i + 2u] - origin;
    let d = x[base + i + 3u] - origin;
    let part = 0.25 * ((a + b) + (c + d));
    let off = part - mean4;
    let share = 4.0 / f32(i + 4u);
    squares4 += (a - part) * (a - part) + (b - part) * (b - part) + (c - part) * (c - part)
      + (d - part) * (d - part) + off * off * (f32(i) * share);
    mean4 += off * share;
  }
  for (var i = whole; i < count; i++) {
    let value = x[base + i] - origin;
    let off = value - mean4;
    mean4 += off * (1.0 / f32(i + 1u));
    squares4 += off * (value - mean4);
  }
  let mean = 0.25 * sum(mean4);
  let off = mean4 - mean;
  let variance = sum(squares4 + f32(count) * off * off) / f32(4u * count);
  return vec2f(mean, inverseSqrt(variance + params.eps));
}

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let first = ((params.group_x + group.x) * 16u + lane) * ROWS;
  let sample = params.group_y + group.y;
  if (first >= params.rows_per_sample) { return; }
  let rows = params.rows_per_sample - first;
  let count = params.channels4;
  let base = (sample * params.rows_per_sample + first) * count;

  var origin: array<f32, ROWS>;
  var stats: array<vec2f, ROWS>;
  for (var r = 0u; r < ROWS; r++) { // unroll
    if (r < rows) {
      origin[r] = x[base + r * count].x;
      stats[r] = moments(base + r * count, origin[r]);
    }
  }

  let scale_base = params.scale_offset + sample * params.scale_stride;
  let shift_base = params.shift_offset + sample * params.shift_stride;
  for (var i = 0u; i < count; i++) {
    var factor = vec4f(1.0);
    var offset = vec4f();
    if (HAS_WEIGHT) { factor = weight[i]; }
    if (HAS_BIAS) { offset = bias[i]; }
    if (MODULATED) {
      let modulation = 1.0 + scale[scale_base + i];
      factor *= modulation;
      offset = offset * modulation + shift[shift_base + i];
    }
    for (var r = 0u; r < ROWS; r++) { // unroll
      if (r < rows) {
        let at = base + r * count + i;
        y[at] = (x[at] - origin[r] - stats[r].x) * stats[r].y * factor + offset;
      }
    }
  }
}
