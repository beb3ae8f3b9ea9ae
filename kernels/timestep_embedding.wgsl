// y[b] = [cos(t * frequency_0), ... | sin(t * frequency_0), ...], t = timesteps[b]
//
// timesteps   (samples) f32
// frequencies (half) f32
// y           (samples, 2 * half) f32
// params      count = samples * half_width
//
// Grid: one invocation for a cosine and its sine, 64 a workgroup.
// Numerics: arguments reach 1000 rad, where built-in sin and cos promise nothing. The argument is
// reduced by multiples of pi/2 in three parts (each product below 2^10 is exact or tiny), and the
// polynomials are Cephes' sinf and cosf on [-pi/4, pi/4], good to the last place of f32.
struct Params { count: u32, half_width: u32, group_x: u32 }

@group(0) @binding(0) var<storage, read> timesteps: array<f32>;
@group(0) @binding(1) var<storage, read> frequencies: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn cos_sin(angle: f32) -> vec2f {
  let turns = round(angle * 0.63661977);
  let r = ((angle - turns * 1.5703125) - turns * 4.837512969970703e-4) - turns * 7.549789954e-8;
  let z = r * r;
  let s = r + r * z * (-1.6666654611e-1 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
  let c = 1.0 - 0.5 * z
    + z * z * (4.166664568298827e-2 + z * (-1.388731625493765e-3 + z * 2.443315711809948e-5));
  switch (u32(i32(turns)) & 3u) {
    case 1u: { return vec2f(-s, c); }
    case 2u: { return vec2f(-c, -s); }
    case 3u: { return vec2f(s, -c); }
    default: { return vec2f(c, s); }
  }
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (params.group_x + group.x) * 64u + lane;
  if (i >= params.count) { return; }
  let sample = i / params.half_width;
  let k = i % params.half_width;
  let wave = cos_sin(timesteps[sample] * frequencies[k]);
  let base = sample * 2u * params.half_width;
  y[base + k] = wave.x;
  y[base + params.half_width + k] = wave.y;
}
