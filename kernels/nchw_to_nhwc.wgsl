// y[b, p, c] = x[b, c, p] / divisor + shift for c < channels, else 0
//
// x        (samples, channels, pixels) f32
// y        (samples, pixels, padded_channels) f32
// params   count of y; pixels = height * width; divisor is not 0
//
// Grid: one invocation a value of y, 64 a workgroup.
struct Params {
  count: u32, channels: u32, pixels: u32, padded_channels: u32, divisor: f32, shift: f32,
  group_x: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (params.group_x + group.x) * 64u + lane;
  if (at >= params.count) { return; }
  let c = at % params.padded_channels;
  let pixel = (at / params.padded_channels) % params.pixels;
  let sample = at / (params.padded_channels * params.pixels);
  var value = 0.0;
  if (c < params.channels) {
    value = x[(sample * params.channels + c) * params.pixels + pixel] / params.divisor
      + params.shift;
  }
  y[at] = value;
}
