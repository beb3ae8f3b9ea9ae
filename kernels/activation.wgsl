// y = f(x), element by element
//
// x, y     (count) Value
// params   count in Values
//
// Specialisable: alias Value (vec4f, or f32 where the count is not a multiple of 4);
// override KIND: 3 silu x * sigmoid(x), 4 gelu x * Phi(x); the others are part of products.
// Grid: one invocation a Value, 64 a workgroup.
// Numerics: arguments of exp are bounded so that no infinity arises.
alias Value = vec4f;
override KIND = 3u;

struct Params { count: u32, group_x: u32 }

@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> y: array<Value>;
@group(0) @binding(2) var<uniform> params: Params;

fn activate(v: Value) -> Value {
  if (KIND == 4u) {
    return 0.5 * v * (1.0 + erf(0.7071067812 * v));
  }
  return v * (Value(1.0) / (Value(1.0) + exp(min(-v, Value(80.0)))));
}

// Rational minimax approximation over [-4, 4] (Eigen's generic_fast_erf_float): a few ulp.
fn erf(v: Value) -> Value {
  let t = clamp(v, Value(-4.0), Value(4.0));
  let q = t * t;
  var top = fma(q, Value(-2.72614225801306e-10), Value(2.77068142495902e-08));
  top = fma(q, top, Value(-2.10102402082508e-06));
  top = fma(q, top, Value(-5.69250639462346e-05));
  top = fma(q, top, Value(-7.34990630326855e-04));
  top = fma(q, top, Value(-2.95459980854025e-03));
  top = fma(q, top, Value(-1.60960333262415e-02));
  var bottom = fma(q, Value(-1.45660718464996e-05), Value(-2.13374055278905e-04));
  bottom = fma(q, bottom, Value(-1.68282697438203e-03));
  bottom = fma(q, bottom, Value(-7.37332916720468e-03));
  bottom = fma(q, bottom, Value(-1.42647390514189e-02));
  return t * top / bottom;
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (params.group_x + group.x) * 64u + lane;
  if (i < params.count) { y[i] = activate(x[i]); }
}
