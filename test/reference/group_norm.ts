export interface GroupNormInput {
  /** (samples, pixels, channels) */
  readonly x: ArrayLike<number>;
  readonly samples: number;
  readonly groups: number;
  readonly weight: ArrayLike<number>;
  readonly bias: ArrayLike<number>;
  readonly eps: number;
  readonly silu: boolean;
}

export function groupNorm(input: GroupNormInput): Float64Array {
  const { x, samples, groups, weight, bias, eps, silu } = input;
  const channels = weight.length;
  const pixels = x.length / samples / channels;
  const width = channels / groups;
  const y = new Float64Array(x.length);
  for (let sample = 0; sample < samples; sample++) {
    for (let group = 0; group < groups; group++) {
      const places: number[] = [];
      for (let p = 0; p < pixels; p++) {
        for (let c = group * width; c < (group + 1) * width; c++) {
          places.push((sample * pixels + p) * channels + c);
        }
      }
      const mean = places.reduce((sum, at) => sum + x[at]!, 0) / places.length;
      const variance = places.reduce((sum, at) => sum + (x[at]! - mean) ** 2, 0) / places.length;
      for (const at of places) {
        const c = at % channels;
        const value = (x[at]! - mean) / Math.sqrt(variance + eps) * weight[c]! + bias[c]!;
        y[at] = silu ? value / (1 + Math.exp(-value)) : value;
      }
    }
  }
  return y;
}
