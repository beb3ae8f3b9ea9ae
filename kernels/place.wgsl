// into[b, row + t, column + c] = x[b, t, c]
//
// x        (samples, tokens, channels) f32 as Values
// into     (samples, into_tokens, into_channels) f32; the rest of it stays
// params   count, channels, into_channels and column in Values
//
// Specialisable: alias Value (vec4f, or f32 where an extent is not a multiple of 4).
// Grid: one invocation a Value of x, 64 a workgroup.
alias Value = vec4f;

struct Params {
  count: u32, tokens: u32, channels: u32, into_tokens: u32, into_channels: u32, row: u32,
  column: u32,
  group_x: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> into: array<Value>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (params.group_x + group.x) * 64u + lane;
  if (at >= params.count) { return; }
  let c = at % params.channels;
  let t = (at / params.channels) % params.tokens;
  let sample = at / (params.channels * params.tokens);
  let row = sample * params.into_tokens + params.row + t;
  into[row * params.into_channels + params.column + c] = x[at];
}
