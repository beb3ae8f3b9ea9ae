// y = gelu_tanh(gate) * linear, where x = [gate | linear]
//
// x        (rows, 2 * channels) f32
// y        (rows, channels) f32
// params   count of vec4f in y, channels4 vec4f a row of y
//
// Grid: one invocation a vec4f of y, 64 a workgroup.
// Numerics: tanh as a sigmoid whose exp cannot overflow.
struct Params { count: u32, channels4: u32, group_x: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

fn gelu_tanh(v: vec4f) -> vec4f {
  let u = 1.5957691 * (v + 0.044715 * v * v * v);
  return v / (1.0 + exp(min(-u, vec4f(80.0))));
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (params.group_x + group.x) * 64u + lane;
  if (i >= params.count) { return; }
  let row = i / params.channels4;
  let gate = i + row * params.channels4;
  y[i] = gelu_tanh(x[gate]) * x[gate + params.channels4];
}
