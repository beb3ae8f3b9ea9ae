// out[i] = the sum of 8 chains of x = x * a + b: nothing but arithmetic in registers
//
// out     (invocations) f32
// params  turns of the loop
//
// Bench only: the most multiply-adds that this adapter does, with neither loads nor stores to speak
// of. Eight independent chains hide the latency of each; in an array they would leave the registers
// of one software adapter.
// Flops of an invocation: 2 * 8 * REPEATS * turns.
const REPEATS = 16u;

struct Params { turns: u32 }

@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let a = f32(id.x) * 1e-9 + 0.5;
  let b = f32(id.x) * 1e-7 + 0.25;
  var c0 = a;
  var c1 = a * 2.0;
  var c2 = a * 3.0;
  var c3 = a * 4.0;
  var c4 = a * 5.0;
  var c5 = a * 6.0;
  var c6 = a * 7.0;
  var c7 = a * 8.0;
  for (var turn = 0u; turn < params.turns; turn++) {
    for (var repeat = 0u; repeat < REPEATS; repeat++) { // unroll
      c0 = fma(c0, a, b);
      c1 = fma(c1, a, b);
      c2 = fma(c2, a, b);
      c3 = fma(c3, a, b);
      c4 = fma(c4, a, b);
      c5 = fma(c5, a, b);
      c6 = fma(c6, a, b);
      c7 = fma(c7, a, b);
    }
  }
  out[id.x] = c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7;
}
