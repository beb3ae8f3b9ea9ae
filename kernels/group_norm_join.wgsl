// Second pass of GroupNorm: joins the strips' moments to one mean and scale for each channel.
//
// strips   (samples, strip_count, 2, channels) f32 from group_norm_strips.wgsl
// weight   (channels) f32
// moments  (samples, 2, channels) f32: the group's mean, and weight / sqrt(variance + eps)
// params   group_channels = channels / groups; pixels of a sample, strip_pixels of a strip
//
// Grid: one workgroup of 64 for each group of each sample, (groups, samples).
// Numerics: Chan's formula with the groups' mean: sum of squares = sum of the parts' squares +
// n * (part's mean - mean)^2. Sums run in a fixed order: by lane, then as a tree.
struct Params {
  channels: u32, group_channels: u32, pixels: u32, strip_pixels: u32, strip_count: u32, eps: f32,
  group_x: u32, group_y: u32,
}

@group(0) @binding(0) var<storage, read> strips: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> moments: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> sums: array<f32, 64>;

fn pixels_of(strip: u32) -> f32 {
  return f32(min(params.strip_pixels, params.pixels - strip * params.strip_pixels));
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sample = params.group_y + group.y;
  let first = (params.group_x + group.x) * params.group_channels;
  let size = f32(params.pixels) * f32(params.group_channels);

  var sum = 0.0;
  for (var strip = lane; strip < params.strip_count; strip += 64u) {
    let row = (sample * params.strip_count + strip) * 2u * params.channels + first;
    var part = 0.0;
    for (var c = 0u; c < params.group_channels; c++) { part += strips[row + c]; }
    sum += pixels_of(strip) * part;
  }
  sums[lane] = sum;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sums[lane] += sums[lane + half]; }
  }
  workgroupBarrier();
  let mean = sums[0] / size;
  workgroupBarrier();

  sum = 0.0;
  for (var strip = lane; strip < params.strip_count; strip += 64u) {
    let row = (sample * params.strip_count + strip) * 2u * params.channels + first;
    var inside = 0.0;
    var between = 0.0;
    for (var c = 0u; c < params.group_channels; c++) {
      let off = strips[row + c] - mean;
      inside += strips[row + params.channels + c];
      between += off * off;
    }
    sum += inside + pixels_of(strip) * between;
  }
  sums[lane] = sum;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sums[lane] += sums[lane + half]; }
  }
  workgroupBarrier();
  let inverse = inverseSqrt(sums[0] / size + params.eps);

  for (var c = lane; c < params.group_channels; c += 64u) {
    let at = sample * 2u * params.channels + first + c;
    moments[at] = mean;
    moments[at + params.channels] = weight[first + c] * inverse;
  }
}
