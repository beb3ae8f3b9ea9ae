import { activation } from "./activation.ts";

export function gatedGelu(x: ArrayLike<number>, channels: number): Float64Array {
  const gate = activation(x, "gelu_tanh");
  return Float64Array.from({ length: x.length / 2 }, (_, i) => {
    const at = 2 * channels * Math.floor(i / channels) + i % channels;
    return gate[at]! * x[at + channels]!;
  });
}
