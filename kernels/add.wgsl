// into += x, or into += gate * x with one gate vector for each sample
//
// x, into  (samples, rows, channels) f32 as Values
// gate     (samples, gate_stride) f32, this op's vector at gate_offset, where GATED
// params   in Values: count of all, channels, per_sample = rows * channels, the gate's place
//
// Specialisable: alias Value (vec4f, or f32 where extents are not multiples of 4), override GATED.
// Grid: one invocation a Value, 64 a workgroup.
alias Value = vec4f;
override GATED = false;

struct Params {
  count: u32, channels: u32, per_sample: u32, gate_offset: u32, gate_stride: u32,
  group_x: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> gate: array<Value>;
@group(0) @binding(2) var<storage, read_write> into: array<Value>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (params.group_x + group.x) * 64u + lane;
  if (i >= params.count) { return; }
  var value = x[i];
  if (GATED) {
    let sample = i / params.per_sample;
    value *= gate[params.gate_offset + sample * params.gate_stride + i % params.channels];
  }
  into[i] += value;
}
