// into = value everywhere
//
// into     (count) f32 as Values
// params   count in Values
//
// Specialisable: alias Value (vec4f, or f32 where the count is not a multiple of 4).
// Grid: one invocation a Value, 64 a workgroup.
alias Value = vec4f;

struct Params { count: u32, value: f32, group_x: u32 }

@group(0) @binding(0) var<storage, read_write> into: array<Value>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (params.group_x + group.x) * 64u + lane;
  if (at >= params.count) { return; }
  into[at] = Value(params.value);
}
