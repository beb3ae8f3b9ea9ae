// y[b, c, i * patch + p, j * patch + q] = x[b, (i, j), (p, q, c)]
//
// x        (samples, height * width, patch * patch * channels) f32; height and width in patches
// y        (samples, channels, height * patch, width * patch) f32
// params   count of y
//
// Grid: one invocation a value of y, 64 a workgroup.
struct Params { count: u32, channels: u32, height: u32, width: u32, patch_size: u32, group_x: u32 }

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
  let size = params.patch_size;
  let columns = params.width * size;
  let rows = params.height * size;
  let column = at % columns;
  let row = (at / columns) % rows;
  let c = (at / (columns * rows)) % params.channels;
  let sample = at / (columns * rows * params.channels);
  let token = (sample * params.height + row / size) * params.width + column / size;
  let inner = (row % size) * size + column % size;
  y[at] = x[(token * size * size + inner) * params.channels + c];
}
