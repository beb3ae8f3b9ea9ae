// First pass of GroupNorm: mean and sum of centred squares of every channel over a strip of pixels.
//
// x        (samples, pixels, channels) f32, channels last
// strips   (samples, strip_count, 2, channels) f32: means, then sums of squared distances to them
// params   channels4 counts vec4f; a strip is strip_pixels pixels, the last one perhaps fewer
//
// Grid: one invocation for four channels of a strip, 64 a workgroup.
// Numerics: four pixels at a time their mean and centred squares, joined by Chan's formula: x is
// read once and the squares are of centred values. What a strip holds depends on the sample's own
// size only.
struct Params {
  count: u32, pixels: u32, channels4: u32, strip_pixels: u32, strip_count: u32,
  group_x: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> strips: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (params.group_x + group.x) * 64u + lane;
  if (i >= params.count) { return; }
  let channel = i % params.channels4;
  let strip = i / params.channels4;
  let sample = strip / params.strip_count;
  let first = (strip % params.strip_count) * params.strip_pixels;
  let pixels = min(params.strip_pixels, params.pixels - first);
  let base = (sample * params.pixels + first) * params.channels4 + channel;

  var mean = vec4f();
  var squares = vec4f();
  let step = params.channels4;
  let whole = pixels - pixels % 4u;
  for (var p = 0u; p < whole; p += 4u) {
    let at = base + p * step;
    let a = x[at];
    let b = x[at + step];
    let c = x[at + 2u * step];
    let d = x[at + 3u * step];
    let part = a + 0.25 * ((b - a) + (c - a) + (d - a));
    let off = part - mean;
    let share = 4.0 / f32(p + 4u);
    squares += (a - part) * (a - part) + (b - part) * (b - part) + (c - part) * (c - part)
      + (d - part) * (d - part) + off * off * (f32(p) * share);
    mean += off * share;
  }
  for (var p = whole; p < pixels; p++) {
    let value = x[base + p * step];
    let off = value - mean;
    mean += off * (1.0 / f32(p + 1u));
    squares += off * (value - mean);
  }
  let at = strip * 2u * params.channels4 + channel;
  strips[at] = mean;
  strips[at + params.channels4] = squares;
}
