// One scheduler step of samples whose scheduler adds noise or keeps tensors, with guidance, in
// place:
//
//   v       as in guided_step
//   latents = sum 0, kept k = sum 1 + k, each of them
//             sample * latents + velocity * v + noise * n + kept.x * kept 0 + kept.y * kept 1 ...
//
// where every sum reads what there was before. The samples are a batch's last, from `first` on.
//
// latents  (batch, values) f32 as Values, read and written
// kept     (samples, slots, values) f32, read and written: at most 4 slots
// velocity (rows, values) f32: what the transformer predicted
// noise    (samples, values) f32
// steps    (batch) Step, of which the guidance is read; see guided_step
// sums     (samples, 1 + slots) Sum; a tensor whose factor is 0 is not read
// params   count and per_sample in Values; first: samples of the batch that come before
//
// Specialisable: alias Value (vec4f, or f32 where a sample is not a multiple of 4).
// Grid: one invocation a Value, 64 a workgroup.
// Numerics: terms are added in the order above, so that unread ones change no bit.
alias Value = vec4f;

const NONE = 0xffffffffu;

struct Step {
  conditional: u32, unconditional: u32, skipped: u32, guidance: f32,
  skip_scale: f32, sample_scale: f32, velocity_scale: f32,
}
struct Sum { sample: f32, velocity: f32, noise: f32, unused: f32, kept: vec4f }
struct Params { count: u32, per_sample: u32, first: u32, slots: u32, group_x: u32 }

@group(0) @binding(0) var<storage, read_write> latents: array<Value>;
@group(0) @binding(1) var<storage, read_write> kept: array<Value>;
@group(0) @binding(2) var<storage, read> velocity: array<Value>;
@group(0) @binding(3) var<storage, read> noise: array<Value>;
@group(0) @binding(4) var<storage, read> steps: array<Step>;
@group(0) @binding(5) var<storage, read> sums: array<Sum>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (params.group_x + group.x) * 64u + lane;
  if (at >= params.count) { return; }
  let sample = at / params.per_sample;
  let inner = at % params.per_sample;
  let step = steps[params.first + sample];
  let conditional = velocity[step.conditional * params.per_sample + inner];
  var v = conditional;
  if (step.unconditional != NONE) {
    let unconditional = velocity[step.unconditional * params.per_sample + inner];
    v = unconditional + step.guidance * (conditional - unconditional);
  }
  if (step.skipped != NONE) {
    v += step.skip_scale * (conditional - velocity[step.skipped * params.per_sample + inner]);
  }

  let place = params.first * params.per_sample + at;
  let x = latents[place];
  let slot_0 = sample * params.slots * params.per_sample + inner;
  var before: array<Value, 4>;
  for (var k = 0u; k < params.slots; k++) { before[k] = kept[slot_0 + k * params.per_sample]; }
  for (var i = 0u; i <= params.slots; i++) {
    let sum = sums[sample * (1u + params.slots) + i];
    var value = sum.sample * x + sum.velocity * v;
    if (sum.noise != 0.0) { value += sum.noise * noise[at]; }
    for (var k = 0u; k < params.slots; k++) {
      if (sum.kept[k] != 0.0) { value += sum.kept[k] * before[k]; }
    }
    if (i == 0u) {
      latents[place] = value;
    } else {
      kept[slot_0 + (i - 1u) * params.per_sample] = value;
    }
  }
}
