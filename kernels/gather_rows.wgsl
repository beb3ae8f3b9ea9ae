// y[b] = x[b, rows[b]]
//
// x        (samples, tokens, channels) f32 as Values
// rows     (samples) u32; clamped to the last token
// y        (samples, channels) f32
// params   count and channels in Values
//
// Specialisable: alias Value (vec4f, or f32 where channels are not a multiple of 4).
// Grid: one invocation a Value, 64 a workgroup.
alias Value = vec4f;

struct Params { count: u32, channels: u32, tokens: u32, group_x: u32 }

@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (params.group_x + group.x) * 64u + lane;
  if (at >= params.count) { return; }
  let sample = at / params.channels;
  let row = min(rows[sample], params.tokens - 1u);
  y[at] = x[(sample * params.tokens + row) * params.channels + at % params.channels];
}
