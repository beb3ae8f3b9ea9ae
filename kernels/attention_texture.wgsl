// Attention for adapters whose invocations are SIMD lanes of a CPU; online softmax over all keys:
//   output[b,i,h] = sum_j softmax_j(scale * q[b,i,h] . k[b,j,h] + bias[h,i,j]) * v[b,j,h]
//
// queries        (B, T, 3*H*D) f32 as vec4f: q | k | v along the last axis, each (H, D); q is read
// keys           texels of four f32; a row holds k | v of one key: tokens0 rows of each sample in
//                turn, then the others of each sample in turn
// relative_bias  (H, 2T-1) f32: added to score (i, j) at j - i + T - 1, if HAS_BIAS
// output         (B, T, H*D) f32 as vec4f
// params         T, a sample's keys and those of its first stream, the scores' scale, the first of
//                the samples in the texture, the first query of this dispatch; if causal is 1,
//                query i sees keys j <= i
//
// Specialise: HEAD_CHUNKS = D / 4, QUERIES rows a lane, KEYS a step, HAS_BIAS.
// Grid: (tiles of LANES * QUERIES queries, H, samples in the texture); a lane owns QUERIES rows,
// LANES apart, and keeps their q and sums in registers, or in the stack's cache lines.
// Numerics: f32; a score is one chain of fma over d, the order of keys is theirs: a row's bits do
// not depend on QUERIES. Scores carry log2(e), exponentials are to base 2.
//
// Arithmetic of a step: every lane reads the same 2 * HEAD_CHUNKS * KEYS texels for
// 2 * D * KEYS * QUERIES multiply-adds: 4 * QUERIES a texel. On llvmpipe (512-bit vectors) a texel
// of a storage texture is some 90 instructions and 10 to 20 ns, for it is fetched lane by lane; a
// multiply-add is two instructions, which arrive from the second level of cache at 0.3 to 0.5 ns.
// Eight rows a lane balance the two. What is summed up in a row of loops stays within 32 registers:
// one number a row and key for scores, one texel's four a row for values.

const HEAD_CHUNKS = 16u;
const QUERIES = 4u;
const KEYS = 4u;
const LANES = 16u;
override HAS_BIAS = false;

struct Params {
  heads: u32,
  query_tokens: u32,
  tokens: u32,
  tokens0: u32,
  scale: f32,
  first_sample: u32,
  samples: u32,
  first_query: u32,
  causal: u32,
  group_x: u32, group_y: u32, group_z: u32,
}

@group(0) @binding(0) var<storage, read> queries: array<vec4f>;
@group(0) @binding(1) var keys: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> relative_bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

const LOG2_E = 1.4426950408889634;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = params.group_y + group.y;
  let tile = params.group_x + group.x;
  let nth = params.group_z + group.z;
  let sample = params.first_sample + nth;
  let width = params.heads * HEAD_CHUNKS;
  let key_column = head * HEAD_CHUNKS;
  let first0 = nth * params.tokens0;
  let first1 = params.samples * params.tokens0 + nth * (params.tokens - params.tokens0);
  let first_row = params.first_query + tile * QUERIES * LANES + lane;
  let last_row = params.query_tokens - 1u;

  var q: array<array<vec4f, HEAD_CHUNKS>, QUERIES>;
  var sum: array<array<vec4f, HEAD_CHUNKS>, QUERIES>;
  var maximum: array<f32, QUERIES>;
  var total: array<f32, QUERIES>;
  // Keys that the row sees, and where its bias of key 0 lies.
  var visible: array<u32, QUERIES>;
  var bias_base: array<u32, QUERIES>;
  for (var r = 0u; r < QUERIES; r++) { // unroll
    let row = min(first_row + r * LANES, last_row);
    let base = (sample * params.query_tokens + row) * 3u * width + head * HEAD_CHUNKS;
    for (var d = 0u; d < HEAD_CHUNKS; d++) { // unroll
      q[r][d] = queries[base + d] * (params.scale * LOG2_E);
      sum[r][d] = vec4f(0.0);
    }
    maximum[r] = -3.0e38;
    total[r] = 0.0;
    visible[r] = select(params.tokens, row + 1u, params.causal == 1u);
    bias_base[r] = head * (2u * params.query_tokens - 1u) + last_row - row;
  }
  let tile_end = min(
    params.query_tokens, params.first_query + (tile + 1u) * QUERIES * LANES);
  let end = select(params.tokens, tile_end, params.causal == 1u);

  for (var key = 0u; key < end; key += KEYS) {
    var rows: array<u32, KEYS>;
    for (var j = 0u; j < KEYS; j++) { // unroll
      // Keys past the last are its copies, with weight 0.
      let seen = min(key + j, params.tokens - 1u);
      rows[j] = select(first1 + seen - params.tokens0, first0 + seen, seen < params.tokens0);
    }
    // Explicit zeros: naga does not reset a loop's own variables.
    var scores: array<array<f32, KEYS>, QUERIES>;
    for (var r = 0u; r < QUERIES; r++) { // unroll
      for (var j = 0u; j < KEYS; j++) { // unroll
        scores[r][j] = 0.0;
      }
    }
    for (var d = 0u; d < HEAD_CHUNKS; d++) { // unroll
      for (var j = 0u; j < KEYS; j++) { // unroll
        let k = textureLoad(keys, vec2u(key_column + d, rows[j]));
        for (var e = 0u; e < 4u; e++) { // unroll
          for (var r = 0u; r < QUERIES; r++) { // unroll
            scores[r][j] = fma(q[r][d][e], k[e], scores[r][j]);
          }
        }
      }
    }

    var weight: array<array<f32, KEYS>, QUERIES>;
    var shrink: array<f32, QUERIES>;
    for (var r = 0u; r < QUERIES; r++) { // unroll
      var larger = maximum[r];
      for (var j = 0u; j < KEYS; j++) { // unroll
        var score = scores[r][j];
        if (HAS_BIAS) {
          score += LOG2_E * relative_bias[bias_base[r] + min(key + j, params.tokens - 1u)];
        }
        weight[r][j] = select(-3.0e38, score, key + j < visible[r]);
        larger = max(larger, weight[r][j]);
      }
      shrink[r] = exp2(maximum[r] - larger);
      maximum[r] = larger;
      total[r] *= shrink[r];
      for (var j = 0u; j < KEYS; j++) { // unroll
        weight[r][j] = exp2(weight[r][j] - larger);
        total[r] += weight[r][j];
      }
    }

    for (var d = 0u; d < HEAD_CHUNKS; d++) { // unroll
      var v: array<vec4f, KEYS>;
      for (var j = 0u; j < KEYS; j++) { // unroll
        v[j] = textureLoad(keys, vec2u(key_column + width + d, rows[j]));
      }
      for (var r = 0u; r < QUERIES; r++) { // unroll
        sum[r][d] *= shrink[r];
        for (var j = 0u; j < KEYS; j++) { // unroll
          sum[r][d] = fma(vec4f(weight[r][j]), v[j], sum[r][d]);
        }
      }
    }
  }

  for (var r = 0u; r < QUERIES; r++) { // unroll
    let row = first_row + r * LANES;
    if (row <= last_row) {
      let base = (sample * params.query_tokens + row) * width + head * HEAD_CHUNKS;
      for (var d = 0u; d < HEAD_CHUNKS; d++) { // unroll
        output[base + d] = sum[r][d] / total[r];
      }
    }
  }
}
