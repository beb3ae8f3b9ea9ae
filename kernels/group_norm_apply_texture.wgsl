// Third pass of GroupNorm: y = (x - mean) * scale + bias, then silu where SILU; as
// group_norm_apply.wgsl, for adapters that fetch texels at a fraction of a buffer's cost.
//
// x        f32; pixel i of this pass's has its channels 4 e .. 4 e + 3 in texel
//          (i % 2^pixel_shift * channels4 + e, i / 2^pixel_shift); pixel 0 is first_pixel of all
// y        (samples, pixels, channels) f32, channels last
// moments  (samples, 2, channels) f32 from group_norm_join.wgsl: mean, scale
// bias     (channels) f32
// params   channels4 counts vec4f; an invocation handles strip_pixels pixels; count invocations
//          from the strip first_strip of all samples' on
//
// Override: SILU.
// Grid: one invocation for four channels of a strip of pixels, 64 a workgroup.
override SILU = false;

struct Params {
  count: u32, pixels: u32, channels4: u32, strip_pixels: u32, strip_count: u32,
  first_strip: u32, first_pixel: u32, pixel_shift: u32,
  group_x: u32,
}

@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var<storage, read> moments: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (params.group_x + group.x) * 64u + lane;
  if (i >= params.count) { return; }
  let channel = i % params.channels4;
  let strip = params.first_strip + i / params.channels4;
  let sample = strip / params.strip_count;
  let first = (strip % params.strip_count) * params.strip_pixels;
  let pixels = min(params.strip_pixels, params.pixels - first);
  let start = sample * params.pixels + first;
  let base = start - params.first_pixel;
  let mean = moments[sample * 2u * params.channels4 + channel];
  let scale = moments[(sample * 2u + 1u) * params.channels4 + channel];
  let offset = bias[channel];
  let step = params.channels4;
  let whole = pixels - pixels % 4u;
  for (var p = 0u; p < whole; p += 4u) {
    let at = (start + p) * step + channel;
    let a = load(base + p, channel);
    let b = load(base + p + 1u, channel);
    let c = load(base + p + 2u, channel);
    let d = load(base + p + 3u, channel);
    y[at] = norm(a, mean, scale, offset);
    y[at + step] = norm(b, mean, scale, offset);
    y[at + 2u * step] = norm(c, mean, scale, offset);
    y[at + 3u * step] = norm(d, mean, scale, offset);
  }
  for (var p = whole; p < pixels; p++) {
    y[(start + p) * step + channel] = norm(load(base + p, channel), mean, scale, offset);
  }
}

fn load(pixel: u32, channel: u32) -> vec4f {
  let column = pixel & ((1u << params.pixel_shift) - 1u);
  return textureLoad(x, vec2u(column * params.channels4 + channel, pixel >> params.pixel_shift));
}

fn norm(value: vec4f, mean: vec4f, scale: vec4f, offset: vec4f) -> vec4f {
  let normed = (value - mean) * scale + offset;
  if (SILU) { return normed / (1.0 + exp(min(-normed, vec4f(80.0)))); }
  return normed;
}
