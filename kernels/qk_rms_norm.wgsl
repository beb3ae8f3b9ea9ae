// RMS norm of every head's query and key, in place:
//   x = x / sqrt(mean(x * x) + epsilon) * weight     for x = q[b,s,h] or k[b,s,h], D values each
//
// qkv       (B, S, 3*H*D) chunks: q | k | v along the last axis, each (H, D)
// q_weight  (D) f32 as chunks
// k_weight  the same
// params    rows = B*S*H heads to normalise, heads = H, D, epsilon
//
// Specialise: HEAD_CHUNKS = D / 4 with chunk = vec4f; for D not a multiple of 4, chunk = f32,
//   HEAD_CHUNKS = D and LANE_SUM = 0.25.
// Grid: (ceil(rows / GROUP), 2): q, then k; an invocation owns one head's q or k.
// Numerics: f32, the mean square in four partial sums; no sum crosses invocations.

alias chunk = vec4f;
const HEAD_CHUNKS = 16u;
// vec4f(partial) keeps a vector and repeats a scalar four times: this weight makes both right.
const LANE_SUM = 1.0;
override GROUP: u32 = 64u;

struct Params {
  rows: u32,
  heads: u32,
  head_dim: f32,
  epsilon: f32,
  group_x: u32, group_y: u32,
}

@group(0) @binding(0) var<storage, read_write> qkv: array<chunk>;
@group(0) @binding(1) var<storage, read> q_weight: array<chunk>;
@group(0) @binding(2) var<storage, read> k_weight: array<chunk>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(GROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (params.group_x + group.x) * GROUP + lane;
  if (row >= params.rows) {
    return;
  }
  let token = row / params.heads;
  let head = row % params.heads;
  let part = params.group_y + group.y;
  let base = ((3u * token + part) * params.heads + head) * HEAD_CHUNKS;

  var x: array<chunk, HEAD_CHUNKS>;
  var partial = chunk();
  for (var i = 0u; i < HEAD_CHUNKS; i++) { // unroll
    x[i] = qkv[base + i];
    partial = fma(x[i], x[i], partial);
  }
  let mean = dot(vec4f(partial), vec4f(LANE_SUM)) / params.head_dim;
  let factor = inverseSqrt(mean + params.epsilon);
  for (var i = 0u; i < HEAD_CHUNKS; i++) { // unroll
    qkv[base + i] = x[i] * factor * weight(part, i);
  }
}

fn weight(part: u32, i: u32) -> chunk {
  if (part == 0u) { return q_weight[i]; }
  return k_weight[i];
}
