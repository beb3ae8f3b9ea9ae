// Softmax of each row, in place:  x[r,c] = e[r,c] / sum_c e[r,c],  e = exp(scale * (x - max_r))
//
// x       (R, C) f32 as chunks
// params  row_chunks = C / chunk's width, scale > 0
//
// Specialise: chunk = vec4f; for C not a multiple of 4, chunk = f32 and LANE_SUM = 0.25.
// Grid: (R); a workgroup owns a row.
// Numerics: f32; each lane sums its own chunks, then the GROUP sums are added in lane order, so a
// row's bits depend on C alone. A lane makes 3 * row_chunks / GROUP + 2 * GROUP iterations.

alias chunk = vec4f;
// vec4f(partial) keeps a vector and repeats a scalar four times: this weight makes both right.
const LANE_SUM = 1.0;
override GROUP: u32 = 64u;

struct Params {
  row_chunks: u32,
  scale: f32,
  group_x: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<chunk>;
@group(0) @binding(1) var<uniform> params: Params;

var<workgroup> lane_values: array<f32, GROUP>;

@compute @workgroup_size(GROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = params.group_x + group.x;
  let chunks = params.row_chunks;
  let base = row * chunks;

  var largest = chunk(-3.0e38);
  for (var i = lane; i < chunks; i += GROUP) {
    largest = max(largest, x[base + i]);
  }
  let wide = vec4f(largest);
  lane_values[lane] = max(max(wide.x, wide.y), max(wide.z, wide.w));
  workgroupBarrier();
  var maximum = lane_values[0];
  for (var i = 1u; i < GROUP; i++) {
    maximum = max(maximum, lane_values[i]);
  }
  workgroupBarrier();

  var partial = chunk();
  for (var i = lane; i < chunks; i += GROUP) {
    let weight = exp(params.scale * (x[base + i] - maximum));
    x[base + i] = weight;
    partial += weight;
  }
  lane_values[lane] = dot(vec4f(partial), vec4f(LANE_SUM));
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < GROUP; i++) {
    total += lane_values[i];
  }
  for (var i = lane; i < chunks; i += GROUP) {
    x[base + i] /= total;
  }
}
