// y[i] = 2 * x[i]: one pass through memory
//
// x, y    (count) vec4f
// params  count
//
// Bench only: the bytes a second that an elementwise kernel can hope for. An invocation handles
// WIDTH vectors, 64 apart, so that the lanes of a workgroup read side by side.
const WIDTH = 1u;

struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = group.x * 64u * WIDTH + lane;
  for (var i = 0u; i < WIDTH; i++) { // unroll
    let at = first + i * 64u;
    if (at < params.count) { y[at] = 2.0 * x[at]; }
  }
}
