// y[b, i, j] = table[(top + i) * max_size + left + j], for the rows that this part holds
//
// table    (part_rows, stride) f32, or f16 packed two to a u32; rows row_start.. of max_size^2
// y        (samples, height, width, channels) f32, the same for every sample
// params   stride4 and channels4 count vec4 of values; count = samples * height * width * channels4
//
// Override: TABLE_F16 (else f32).
// Grid: one invocation for four values, 64 a workgroup. One dispatch a part.
override TABLE_F16 = true;

struct Params {
  count: u32, channels4: u32, stride4: u32, max_size: u32, top: u32, left: u32,
  height: u32, width: u32, row_start: u32, part_rows: u32,
  group_x: u32,
}

@group(0) @binding(0) var<storage, read> table: array<vec2u>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (params.group_x + group.x) * 64u + lane;
  if (at >= params.count) { return; }
  let column = at % params.channels4;
  let token = at / params.channels4;
  let j = token % params.width;
  let i = (token / params.width) % params.height;
  let row = (params.top + i) * params.max_size + params.left + j;
  if (row < params.row_start || row - params.row_start >= params.part_rows) { return; }
  let source = (row - params.row_start) * params.stride4 + column;
  if (TABLE_F16) {
    let packed = table[source];
    y[at] = vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y));
  } else {
    y[at] = bitcast<vec4f>(vec4u(table[2u * source], table[2u * source + 1u]));
  }
}
