// y[b, i, j] = x[b, i / 2, j / 2]
//
// x        (samples, height, width, channels) f32 as Values
// y        (samples, 2 * height, 2 * width, channels) f32
// params   count and channels in Values; height and width of x
//
// Specialisable: alias Value (vec4f, or f32 where channels are not a multiple of 4).
// Grid: one invocation a Value of x, written four times; 64 a workgroup.
alias Value = vec4f;

struct Params { count: u32, channels: u32, width: u32, group_x: u32 }

@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> y: array<Value>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (params.group_x + group.x) * 64u + lane;
  if (at >= params.count) { return; }
  let value = x[at];
  let c = at % params.channels;
  let pixel = at / params.channels;
  let column = pixel % params.width;
  let row = pixel / params.width;
  let line = 2u * params.width * params.channels;
  let to = 2u * row * line + 2u * column * params.channels + c;
  y[to] = value;
  y[to + params.channels] = value;
  y[to + line] = value;
  y[to + line + params.channels] = value;
}
