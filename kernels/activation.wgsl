// y = f(x), element by element
//
// x, y     (count) Value
// params   count in Values
//
// Specialisable: alias Value (vec4f, or f32 where the count is not a multiple of 4);
// override KIND: 0 silu x * sigmoid(x), 1 gelu x * Phi(x), 2 gelu_tanh (the tanh approximation),
// 3 quick_gelu x * sigmoid(1.702 x).
// Grid: one invocation a Value, 64 a workgroup.
// Numerics: arguments of exp are bounded so that no infinity arises; erfc by the rational Chebyshev
// fit of Numerical Recipes (relative error below 1.2e-7 everywhere).
alias Value = vec4f;
override KIND = 0u;

struct Params { count: u32, group_x: u32 }

@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> y: array<Value>;
@group(0) @binding(2) var<uniform> params: Params;

fn sigmoid(v: Value) -> Value {
  return Value(1.0) / (Value(1.0) + exp(min(-v, Value(80.0))));
}

// erfc(|v|) * sign as the complement needs it: erfc(v) for every v.
fn erfc(v: Value) -> Value {
  let z = min(abs(v), Value(9.0));
  let t = Value(1.0) / (Value(1.0) + 0.5 * z);
  let poly = t * (t * (t * (t * (t * (t * (t * (t * (t * 0.17087277 - 0.82215223) + 1.48851587)
    - 1.13520398) + 0.27886807) - 0.18628806) + 0.09678418) + 0.37409196) + 1.00002368);
  let tail = t * exp(-z * z - 1.26551223 + poly);
  return select(tail, Value(2.0) - tail, v < Value(0.0));
}

fn activate(v: Value) -> Value {
  switch (KIND) {
    case 1u: { return 0.5 * v * erfc(-0.70710678 * v); }
    case 2u: { return v * sigmoid(1.5957691 * (v + 0.044715 * v * v * v)); }
    case 3u: { return v * sigmoid(1.702 * v); }
    default: { return v * sigmoid(v); }
  }
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (params.group_x + group.x) * 64u + lane;
  if (i < params.count) { y[i] = activate(x[i]); }
}
