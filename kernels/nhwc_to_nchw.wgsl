// y[b, c, p] = x[b, p, c]
//
// x        (samples, pixels, channels) f32
// y        (samples, channels, pixels) f32
// params   count of y; pixels = height * width
//
// Grid: one invocation a value of y, 64 a workgroup.
struct Params { count: u32, channels: u32, pixels: u32, group_x: u32 }

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
  let pixel = at % params.pixels;
  let c = (at / params.pixels) % params.channels;
  let sample = at / (params.pixels * params.channels);
  y[at] = x[(sample * params.pixels + pixel) * params.channels + c];
}
