// y[b, t] = table[ids[b, t]] + positions[t], for the ids whose rows this part of the table holds
//
// ids       (rows) u32, rows = samples * tokens; each below the whole table's row count
// table     (part_rows, stride) f32, or f16 packed two to a u32: rows row_start.. of the whole
// positions (tokens or more, position_stride) like the table, where POSITIONS
// y         (rows, channels) f32
// params    strides count vec4 of values; count = rows * channels4
//
// Overrides: TABLE_F16 and POSITIONS_F16 (else f32), POSITIONS.
// Grid: one invocation for four values, 64 a workgroup. One dispatch a part.
override TABLE_F16 = true;
override POSITIONS_F16 = true;
override POSITIONS = false;

struct Params {
  count: u32, channels4: u32, tokens: u32, row_start: u32, part_rows: u32,
  stride4: u32, position_stride4: u32,
  group_x: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<vec2u>;
@group(0) @binding(2) var<storage, read> positions: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (params.group_x + group.x) * 64u + lane;
  if (i >= params.count) { return; }
  let row = i / params.channels4;
  let column = i % params.channels4;
  let id = ids[row];
  if (id < params.row_start || id - params.row_start >= params.part_rows) { return; }

  let at = (id - params.row_start) * params.stride4 + column;
  var value: vec4f;
  if (TABLE_F16) {
    let packed = table[at];
    value = vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y));
  } else {
    value = bitcast<vec4f>(vec4u(table[2u * at], table[2u * at + 1u]));
  }
  if (POSITIONS) {
    let place = (row % params.tokens) * params.position_stride4 + column;
    if (POSITIONS_F16) {
      let packed = positions[place];
      value += vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y));
    } else {
      value += bitcast<vec4f>(vec4u(positions[2u * place], positions[2u * place + 1u]));
    }
  }
  y[i] = value;
}
