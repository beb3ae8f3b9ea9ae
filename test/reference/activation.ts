import type { activations } from "../../src/ops/support/activations.ts";

type Activation = Exclude<typeof activations[number], "none">;

const functions: Record<Activation, (x: number) => number> = {
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => x * normalCdf(x),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  quick_gelu: (x) => x / (1 + Math.exp(-1.702 * x)),
};

export function activation(x: ArrayLike<number>, kind: Activation): Float64Array {
  return Float64Array.from(x, functions[kind]);
}

/** The normal distribution's integral, by Simpson's rule over the density. */
function normalCdf(x: number): number {
  const limit = Math.min(Math.abs(x), 12);
  const steps = 400;
  const h = limit / steps;
  let sum = 0;
  for (let i = 0; i <= steps; i++) {
    const weight = i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2;
    sum += weight * Math.exp(-0.5 * (i * h) ** 2);
  }
  const half = sum * h / 3 / Math.sqrt(2 * Math.PI);
  return x < 0 ? 0.5 - half : 0.5 + half;
}
