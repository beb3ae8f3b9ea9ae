// y[b, (i, j), (c, p, q)] = latents[b, c, i * patch + p, j * patch + q]
//
// latents  (samples, channels, height, width) f32
// y        (samples, height / patch * width / patch, channels * patch * patch) f32: rows that the
//          patch convolution multiplies as a linear, columns in its weight's order
// params   count of y; patch_size divides height and width
//
// Grid: one invocation a value, 64 a workgroup.
struct Params { count: u32, channels: u32, height: u32, width: u32, patch_size: u32, group_x: u32 }

@group(0) @binding(0) var<storage, read> latents: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (params.group_x + group.x) * 64u + lane;
  if (at >= params.count) { return; }
  let size = params.patch_size;
  let q = at % size;
  let p = (at / size) % size;
  let c = (at / (size * size)) % params.channels;
  let token = at / (size * size * params.channels);
  let columns = params.width / size;
  let rows = params.height / size;
  let x = (token % columns) * size + q;
  let y_row = ((token / columns) % rows) * size + p;
  let sample = token / (columns * rows);
  y[at] = latents[((sample * params.channels + c) * params.height + y_row) * params.width + x];
}
