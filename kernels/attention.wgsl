// Attention of one stream's queries over the keys of one or two streams, online softmax:
//   output[b,i,h] = sum_j softmax_j(scale * q[b,i,h] . k[b,j,h] + bias[h,i,j]) * v[b,j,h]
//
// queries        (B, T, 3*H*D) chunks: q | k | v along the last axis, each (H, D); q is read
// keys0, keys1   (B, S0, 3*H*D), (B, S1, 3*H*D) chunks: k and v are read; S1 may be 0
// relative_bias  (H, 2T-1) f32: added to score (i, j) at j - i + T - 1, if HAS_BIAS
// output         (B, T, H*D) chunks
// params         token counts and the score's scale
//
// Specialise: HEAD_CHUNKS = D / 4 with chunk = vec4f; for D not a multiple of 4, chunk = f32,
//   HEAD_CHUNKS = D and LANE_SUM = 0.25. CAUSAL limits keys to j <= i.
// Grid: (ceil(T / GROUP), H, B); an invocation owns a query row.
// Numerics: f32; the running maximum rescales sum and accumulator whenever it grows.

alias chunk = vec4f;
const HEAD_CHUNKS = 16u;
// vec4f(partial) keeps a vector and repeats a scalar four times: this weight makes both right.
const LANE_SUM = 1.0;
override GROUP: u32 = 64u;
override CAUSAL = false;
override HAS_BIAS = false;

struct Params {
  heads: u32,
  query_tokens: u32,
  tokens0: u32,
  tokens1: u32,
  scale: f32,
  group_x: u32, group_y: u32, group_z: u32,
}

@group(0) @binding(0) var<storage, read> queries: array<chunk>;
@group(0) @binding(1) var<storage, read> keys0: array<chunk>;
@group(0) @binding(2) var<storage, read> keys1: array<chunk>;
@group(0) @binding(3) var<storage, read> relative_bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<chunk>;
@group(0) @binding(5) var<uniform> params: Params;

fn load_key(stream: u32, index: u32) -> chunk {
  if (stream == 0u) {
    return keys0[index];
  }
  return keys1[index];
}

@compute @workgroup_size(GROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let query = (params.group_x + group.x) * GROUP + lane;
  let head = params.group_y + group.y;
  let sample = params.group_z + group.z;
  let width = params.heads * HEAD_CHUNKS;
  let row = min(query, params.query_tokens - 1u);

  var q: array<chunk, HEAD_CHUNKS>;
  var accumulated: array<chunk, HEAD_CHUNKS>;
  let query_base = (sample * params.query_tokens + row) * 3u * width + head * HEAD_CHUNKS;
  for (var i = 0u; i < HEAD_CHUNKS; i++) { // unroll
    q[i] = queries[query_base + i] * params.scale;
    accumulated[i] = chunk();
  }
  var maximum = -3.0e38;
  var total = 0.0;

  for (var stream = 0u; stream < 2u; stream++) { // unroll
    let tokens = select(params.tokens0, params.tokens1, stream == 1u);
    let visible = select(tokens, min(tokens, row + 1u), CAUSAL);
    let base = sample * tokens * 3u * width + width + head * HEAD_CHUNKS;
    for (var key = 0u; key < visible; key++) {
      let index = base + key * 3u * width;
      var partial = chunk();
      for (var i = 0u; i < HEAD_CHUNKS; i++) { // unroll
        partial = fma(q[i], load_key(stream, index + i), partial);
      }
      var score = dot(vec4f(partial), vec4f(LANE_SUM));
      if (HAS_BIAS) {
        let distance = key + params.query_tokens - 1u - row;
        score += relative_bias[head * (2u * params.query_tokens - 1u) + distance];
      }
      let larger = max(maximum, score);
      let shrink = exp(maximum - larger);
      let weight = exp(score - larger);
      maximum = larger;
      total = fma(total, shrink, weight);
      for (var i = 0u; i < HEAD_CHUNKS; i++) { // unroll
        let value = load_key(stream, index + width + i);
        accumulated[i] = fma(accumulated[i], chunk(shrink), weight * value);
      }
    }
  }

  if (query < params.query_tokens) {
    let output_base = (sample * params.query_tokens + row) * width + head * HEAD_CHUNKS;
    for (var i = 0u; i < HEAD_CHUNKS; i++) { // unroll
      output[output_base + i] = accumulated[i] / total;
    }
  }
}
