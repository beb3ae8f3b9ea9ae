// Attention with tiles in workgroup memory, for GPUs; online softmax over all keys:
//   output[b,i,h] = sum_j softmax_j(scale * q[b,i,h] . k[b,j,h] + bias[h,i,j]) * v[b,j,h]
//
// queries        (B, T, 3*H*D) f32 as vec4f: q | k | v along the last axis, each (H, D); q is read
// keys0, keys1   (B, S0, 3*H*D), (B, S1, 3*H*D) f32 as vec4f: k and v are read; S1 may be 0
// relative_bias  (H, 2T-1) f32: added to score (i, j) at j - i + T - 1, if HAS_BIAS
// output         (B, T, H*D) f32 as vec4f
// params         token counts and the score's scale; if causal is 1, query i sees keys j <= i
//
// Specialise: HEAD_CHUNKS = D / 4, a multiple of 8; HAS_BIAS.
// Grid: (ceil(T / 32), H, B); a workgroup of 8 x 8 invocations owns 32 rows and walks over the keys
// 32 at a time. Invocation (x, y) computes the scores of rows 4y.. and keys 4x.., then the sums of
// its rows in the chunks x, x + 8, ...
// Numerics: f32; every invocation keeps maximum and its keys' part of the total of its four rows.
//
// Arithmetic of a tile at D = 64, an invocation: for 1024 multiply-adds of scores 64 reads of 16
// bytes from workgroup memory (k) and 64 from the first cache (q: 32 rows of 256 bytes, eight
// invocations ask for the same); for 1024 of sums 96 reads from workgroup memory: about 9
// multiply-adds a read. From global memory 64 * 16 bytes for 2048: half a byte each. Registers: 32
// sums, 16 scores, about 40 more. Workgroup memory 13 KiB (the guaranteed limit is 16), so seven
// workgroups share 96 KiB. A chunk's place is XORed with its key / 4: the eight x of a row read
// eight different banks of 16 bytes.

const HEAD_CHUNKS = 16u;
const COLUMN_CHUNKS = HEAD_CHUNKS / 8u;
override HAS_BIAS = false;

struct Params {
  heads: u32,
  query_tokens: u32,
  tokens0: u32,
  tokens1: u32,
  scale: f32,
  causal: u32,
  group_x: u32, group_y: u32, group_z: u32,
}

@group(0) @binding(0) var<storage, read> queries: array<vec4f>;
@group(0) @binding(1) var<storage, read> keys0: array<vec4f>;
@group(0) @binding(2) var<storage, read> keys1: array<vec4f>;
@group(0) @binding(3) var<storage, read> relative_bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

// Keys, then values, of one step.
var<workgroup> kv_tile: array<vec4f, 32u * HEAD_CHUNKS>;
var<workgroup> weight_tile: array<vec4f, 256>;
var<workgroup> row_parts: array<f32, 256>;

// The key's chunk of k (part 1) or v (part 2); zero past the last key.
fn load_key(sample: u32, key: u32, part: u32, column: u32) -> vec4f {
  let width = params.heads * HEAD_CHUNKS;
  if (key < params.tokens0) {
    return keys0[((sample * params.tokens0 + key) * 3u + part) * width + column];
  }
  let rest = key - params.tokens0;
  if (rest < params.tokens1) {
    return keys1[((sample * params.tokens1 + rest) * 3u + part) * width + column];
  }
  return vec4f(0.0);
}

fn place(key: u32, chunk: u32) -> u32 {
  return key * HEAD_CHUNKS + (chunk ^ ((key / 4u) & 7u));
}

@compute @workgroup_size(8, 8)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let x = local.x;
  let y = local.y;
  let head = params.group_y + group.y;
  let sample = params.group_z + group.z;
  let width = params.heads * HEAD_CHUNKS;
  let column = head * HEAD_CHUNKS;
  let tokens = params.tokens0 + params.tokens1;
  let last_row = params.query_tokens - 1u;
  let first_row = (params.group_x + group.x) * 32u;

  var query_base: array<u32, 4>;
  var sum: array<array<vec4f, COLUMN_CHUNKS>, 4>;
  var maximum: array<f32, 4>;
  var total: array<f32, 4>;
  for (var r = 0u; r < 4u; r++) { // unroll
    for (var c = 0u; c < COLUMN_CHUNKS; c++) { // unroll
      sum[r][c] = vec4f(0.0);
    }
    maximum[r] = -3.0e38;
    total[r] = 0.0;
    let row = min(first_row + 4u * y + r, last_row);
    query_base[r] = (sample * params.query_tokens + row) * 3u * width + column;
  }

  let end = select(tokens, min(tokens, first_row + 32u), params.causal == 1u);
  for (var start = 0u; start < end; start += 32u) {
    for (var i = lane; i < 32u * HEAD_CHUNKS; i += 64u) {
      let key = i / HEAD_CHUNKS;
      let chunk = i % HEAD_CHUNKS;
      kv_tile[place(key, chunk)] = load_key(sample, start + key, 1u, column + chunk);
    }
    workgroupBarrier();

    var score: array<vec4f, 4>;
    for (var r = 0u; r < 4u; r++) { // unroll
      score[r] = vec4f(0.0);
    }
    for (var d = 0u; d < HEAD_CHUNKS; d++) {
      let k0 = kv_tile[place(4u * x, d)];
      let k1 = kv_tile[place(4u * x + 1u, d)];
      let k2 = kv_tile[place(4u * x + 2u, d)];
      let k3 = kv_tile[place(4u * x + 3u, d)];
      for (var r = 0u; r < 4u; r++) { // unroll
        let q = queries[query_base[r] + d];
        score[r] += vec4f(dot(q, k0), dot(q, k1), dot(q, k2), dot(q, k3));
      }
    }
    let key = start + 4u * x + vec4u(0u, 1u, 2u, 3u);
    for (var r = 0u; r < 4u; r++) { // unroll
      let row = min(first_row + 4u * y + r, last_row);
      score[r] *= params.scale;
      if (HAS_BIAS) {
        let base = head * (2u * params.query_tokens - 1u) + last_row - row;
        for (var j = 0u; j < 4u; j++) { // unroll
          score[r][j] += relative_bias[base + min(key[j], tokens - 1u)];
        }
      }
      let visible = select(tokens, row + 1u, params.causal == 1u);
      score[r] = select(vec4f(-3.0e38), score[r], key < vec4u(visible));
      let larger = max(max(score[r].x, score[r].y), max(score[r].z, score[r].w));
      row_parts[(4u * y + r) * 8u + x] = larger;
    }
    workgroupBarrier();

    var shrink: array<f32, 4>;
    for (var r = 0u; r < 4u; r++) { // unroll
      var larger = maximum[r];
      for (var i = 0u; i < 8u; i++) { // unroll
        larger = max(larger, row_parts[(4u * y + r) * 8u + i]);
      }
      shrink[r] = exp(maximum[r] - larger);
      maximum[r] = larger;
      let weight = exp(score[r] - larger);
      total[r] = fma(total[r], shrink[r], dot(weight, vec4f(1.0)));
      weight_tile[(4u * y + r) * 8u + x] = weight;
    }
    // Every invocation is past its scores: the values may take the keys' place.
    for (var i = lane; i < 32u * HEAD_CHUNKS; i += 64u) {
      let value = i / HEAD_CHUNKS;
      let chunk = i % HEAD_CHUNKS;
      kv_tile[place(value, chunk)] = load_key(sample, start + value, 2u, column + chunk);
    }
    workgroupBarrier();

    for (var r = 0u; r < 4u; r++) { // unroll
      for (var c = 0u; c < COLUMN_CHUNKS; c++) { // unroll
        sum[r][c] *= shrink[r];
      }
    }
    for (var i = 0u; i < 8u; i++) {
      let w0 = weight_tile[4u * y * 8u + i];
      let w1 = weight_tile[(4u * y + 1u) * 8u + i];
      let w2 = weight_tile[(4u * y + 2u) * 8u + i];
      let w3 = weight_tile[(4u * y + 3u) * 8u + i];
      for (var j = 0u; j < 4u; j++) { // unroll
        for (var c = 0u; c < COLUMN_CHUNKS; c++) { // unroll
          let v = kv_tile[place(4u * i + j, x + 8u * c)];
          sum[0][c] = fma(vec4f(w0[j]), v, sum[0][c]);
          sum[1][c] = fma(vec4f(w1[j]), v, sum[1][c]);
          sum[2][c] = fma(vec4f(w2[j]), v, sum[2][c]);
          sum[3][c] = fma(vec4f(w3[j]), v, sum[3][c]);
        }
      }
    }
    workgroupBarrier();
  }

  for (var r = 0u; r < 4u; r++) { // unroll
    row_parts[(4u * y + r) * 8u + x] = total[r];
  }
  workgroupBarrier();
  for (var r = 0u; r < 4u; r++) { // unroll
    var all = 0.0;
    for (var i = 0u; i < 8u; i++) { // unroll
      all += row_parts[(4u * y + r) * 8u + i];
    }
    let row = first_row + 4u * y + r;
    if (row <= last_row) {
      let base = (sample * params.query_tokens + row) * width + column;
      for (var c = 0u; c < COLUMN_CHUNKS; c++) { // unroll
        output[base + x + 8u * c] = sum[r][c] / all;
      }
    }
  }
}
