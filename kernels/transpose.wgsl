// Transpose of a matrix, rows of the result padded with zeros:
//   y[c,r] = x[r,c] for r < R, 0 for R <= r < stride
//
// x       (R, C) f32
// y       (C, stride) f32 as vec4f
// params  rows = R, columns = C, stride4 = stride / 4
//
// Grid: (ceil(C / GROUP), stride4); an invocation reads four rows' value of its column (lanes
// read neighbours) and writes one vec4f.

override GROUP: u32 = 64u;

struct Params {
  rows: u32,
  columns: u32,
  stride4: u32,
  group_x: u32, group_y: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(GROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let column = (params.group_x + group.x) * GROUP + lane;
  if (column >= params.columns) {
    return;
  }
  let row4 = params.group_y + group.y;
  let row = 4u * row4;
  var value = vec4f(0.0);
  for (var i = 0u; i < 4u; i++) { // unroll
    if (row + i < params.rows) {
      value[i] = x[(row + i) * params.columns + column];
    }
  }
  y[column * params.stride4 + row4] = value;
}
