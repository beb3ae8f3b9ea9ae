import { betaQuantile } from "./beta_quantile.ts";
import type { FlowMatchEulerConfig } from "./flow_match_config.ts";

/**
 * Numbers with the precision that numpy gives them in diffusers: a default schedule is computed in
 * double and rounded at the end, one that starts from custom values is float32 throughout.
 */
export interface Sigmas {
  readonly values: readonly number[];
  readonly single: boolean;
}

const KARRAS_RHO = 7;
const BETA_SHAPE = 0.6;

function map(sigmas: Sigmas, f: (sigma: number, round: (x: number) => number) => number): Sigmas {
  const round = sigmas.single ? Math.fround : (x: number) => x;
  return { ...sigmas, values: sigmas.values.map((sigma) => f(sigma, round)) };
}

/** numpy's linspace: `count` values, both ends included and exact. */
export function linspace(start: number, stop: number, count: number): number[] {
  const step = count > 1 ? (stop - start) / (count - 1) : 0;
  const values = Array.from({ length: count }, (_, i) => start + i * step);
  if (count > 1) values[count - 1] = stop;
  return values;
}

/** `shift * sigma / (1 + (shift - 1) * sigma)`. */
export function shiftSigmas(sigmas: Sigmas, shift: number): Sigmas {
  return map(sigmas, (sigma, round) => {
    const above = round(round(shift) * sigma);
    return round(above / round(1 + round(round(shift - 1) * sigma)));
  });
}

/** The resolution-dependent shift by `mu`, with diffusers' inner exponent of 1. */
export function timeShift(
  sigmas: Sigmas,
  mu: number,
  type: FlowMatchEulerConfig["time_shift_type"],
): Sigmas {
  const strength = type === "exponential" ? Math.exp(mu) : mu;
  return map(sigmas, (sigma, round) => {
    const odds = round(round(1 / sigma) - 1);
    return round(round(strength) / round(round(strength) + odds));
  });
}

/** Stretches `1 - sigma` so that the last sigma is `terminal` (LTX-Video's `stretch_shift_to_terminal`). */
export function stretchToTerminal(sigmas: Sigmas, terminal: number): Sigmas {
  const last = sigmas.values.at(-1) ?? 0;
  const scale = (1 - last) / (1 - terminal);
  return map(sigmas, (sigma, round) => round(1 - round(round(1 - sigma) / round(scale))));
}

/** Karras et al. 2022, equation 5, between the ends of `sigmas`. */
export function karrasSigmas(sigmas: Sigmas): Sigmas {
  const { max, min, count } = ends(sigmas);
  const from = max ** (1 / KARRAS_RHO);
  const to = min ** (1 / KARRAS_RHO);
  const values = linspace(0, 1, count).map((ramp) => (from + ramp * (to - from)) ** KARRAS_RHO);
  return { values, single: false };
}

/** Evenly spaced logarithms between the ends of `sigmas`. */
export function exponentialSigmas(sigmas: Sigmas): Sigmas {
  const { max, min, count } = ends(sigmas);
  const values = linspace(Math.log(max), Math.log(min), count).map(Math.exp);
  return { values, single: false };
}

/** "Beta Sampling is All You Need" (arXiv 2407.12173), between the ends of `sigmas`. */
export function betaSigmas(sigmas: Sigmas): Sigmas {
  const { max, min, count } = ends(sigmas);
  const values = linspace(0, 1, count).map((at) =>
    min + betaQuantile(1 - at, BETA_SHAPE, BETA_SHAPE) * (max - min)
  );
  return { values, single: false };
}

function ends({ values }: Sigmas): { max: number; min: number; count: number } {
  return { max: values[0] ?? NaN, min: values.at(-1) ?? NaN, count: values.length };
}
