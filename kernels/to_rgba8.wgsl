// y[b, p] = r | g << 8 | b << 16 | 255 << 24 of round(clamp(x / 2 + 0.5, 0, 1) * 255)
//
// x        (pixels of all samples, 3) f32, -1 black and 1 white
// y        (pixels) u32, opaque RGBA in memory order
// params   count of pixels
//
// Grid: one invocation a pixel, 64 a workgroup.
// Numerics: round() takes halves to the even neighbour, as numpy does.
struct Params { count: u32, group_x: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (params.group_x + group.x) * 64u + lane;
  if (at >= params.count) { return; }
  let value = vec3f(x[3u * at], x[3u * at + 1u], x[3u * at + 2u]);
  let bytes = vec3u(round(clamp(value * 0.5 + 0.5, vec3f(0.0), vec3f(1.0)) * 255.0));
  y[at] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | 0xff000000u;
}
