// One scheduler step of samples that nothing but their velocity moves, with guidance, in place:
//
//   v = velocity[unconditional] + guidance * (velocity[conditional] - velocity[unconditional])
//       + skip_scale * (velocity[conditional] - velocity[skipped])
//   latents = sample * latents + velocity_scale * v
//
// latents  (samples, values) f32 as Values, read and written
// velocity (rows, values) f32: what the transformer predicted
// steps    (samples) Step; a row of 0xffffffff means that there is none: v is then the conditional
//          row alone, or nothing is skipped
// params   count and per_sample in Values
//
// Specialisable: alias Value (vec4f, or f32 where a sample is not a multiple of 4).
// Grid: one invocation a Value, 64 a workgroup.
// Numerics: rounds where diffusers' float32 does: a sample scale of 1 multiplies exactly.
alias Value = vec4f;

const NONE = 0xffffffffu;

struct Step {
  conditional: u32, unconditional: u32, skipped: u32, guidance: f32,
  skip_scale: f32, sample_scale: f32, velocity_scale: f32,
}
struct Params { count: u32, per_sample: u32, group_x: u32 }

@group(0) @binding(0) var<storage, read_write> latents: array<Value>;
@group(0) @binding(1) var<storage, read> velocity: array<Value>;
@group(0) @binding(2) var<storage, read> steps: array<Step>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (params.group_x + group.x) * 64u + lane;
  if (at >= params.count) { return; }
  let step = steps[at / params.per_sample];
  let inner = at % params.per_sample;
  let conditional = velocity[step.conditional * params.per_sample + inner];
  var v = conditional;
  if (step.unconditional != NONE) {
    let unconditional = velocity[step.unconditional * params.per_sample + inner];
    v = unconditional + step.guidance * (conditional - unconditional);
  }
  if (step.skipped != NONE) {
    v += step.skip_scale * (conditional - velocity[step.skipped * params.per_sample + inner]);
  }
  latents[at] = step.sample_scale * latents[at] + step.velocity_scale * v;
}
