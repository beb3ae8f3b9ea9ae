// y[r, c] = x[r, c] where c < in_columns, else 0: rows made wider (zeros) or narrower.
//
// x       (rows, in_columns)   f32
// y       (rows, out_columns)  f32
// params  sizes
//
// Grid: one invocation a value of y, 64 a workgroup.
struct Params { rows: u32, in_columns: u32, out_columns: u32, group_x: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (params.group_x + group.x) * 64u + lane;
  let row = index / params.out_columns;
  let column = index % params.out_columns;
  if (row < params.rows) {
    var value = 0.0;
    if (column < params.in_columns) {
      value = x[row * params.in_columns + column];
    }
    y[index] = value;
  }
}
