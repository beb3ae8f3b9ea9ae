/** Noise levels of flow-matching schedules: where they start from, and how they are bent. */
import { betaQuantile } from "./beta_quantile.ts";
import type { SetTimestepsOptions } from "./scheduler.ts";

/**
 * Numbers with the precision that numpy gives them in diffusers: a default schedule is computed in
 * double and rounded at the end, one that starts from custom values is float32 throughout.
 */
export interface Sigmas {
  readonly values: readonly number[];
  readonly single: boolean;
}

/** Noise levels of the training schedule's ends, shift included. */
export interface Ends {
  readonly max: number;
  readonly min: number;
}

/** Steps beyond this are taken for a mistake. */
const maxSteps = 100_000;
const karrasRho = 7;
const betaShape = 0.6;

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

/** Levels of the training schedule, falling from 1; not shifted without a shift. */
export function trainingSigmas(count: number, shift?: number): Float32Array<ArrayBuffer> {
  const values = Array.from({ length: count }, (_, i) => Math.fround((count - i) / count));
  const even = { values, single: true };
  return Float32Array.from((shift === undefined ? even : shiftSigmas(even, shift)).values);
}

/**
 * Levels before the scheduler's own shift: those given, or evenly spaced between the ends, which are
 * shifted already, so that a default schedule's end is shifted twice, as diffusers' is.
 */
export function startSigmas(options: SetTimestepsOptions, ends: Ends, scale: number): Sigmas {
  const count = checkedCount(options);
  const { sigmas, timesteps } = options;
  if (sigmas) return { values: Array.from(sigmas, Math.fround), single: true };
  if (timesteps) {
    const values = Array.from(timesteps, (t) => Math.fround(Math.fround(t) / scale));
    return { values, single: true };
  }
  const spaced = linspace(ends.max * scale, ends.min * scale, count);
  return { values: spaced.map((timestep) => timestep / scale), single: false };
}

/**
 * Steps of a schedule.
 *
 * @throws {TypeError | RangeError} for options that contradict each other
 */
export function checkedCount(
  { numInferenceSteps, sigmas, timesteps }: SetTimestepsOptions,
): number {
  for (const [name, list] of Object.entries({ sigmas, timesteps })) {
    if (list === undefined) continue;
    if (list.length === 0) throw new RangeError(`${name} must not be empty`);
    if (!Array.from(list).every((value) => Number.isFinite(value))) {
      throw new RangeError(`${name} must be numbers`);
    }
  }
  const lengths = [sigmas?.length, timesteps?.length].filter((length) => length !== undefined);
  const count = numInferenceSteps ?? lengths[0];
  if (count === undefined) {
    throw new TypeError("One of numInferenceSteps, sigmas and timesteps must be given");
  }
  if (!Number.isInteger(count) || count < 1 || count > maxSteps) {
    throw new RangeError(
      `numInferenceSteps must be an integer from 1 to ${maxSteps}, not ${count}`,
    );
  }
  if (lengths.some((length) => length !== count)) {
    throw new RangeError(
      "sigmas, timesteps and numInferenceSteps must agree in length where they are given",
    );
  }
  return count;
}

/**
 * In float32.
 *
 * @throws {RangeError} for a level that is not a number
 */
export function finite({ values }: Sigmas): Float32Array<ArrayBuffer> {
  const sigmas = Float32Array.from(values);
  if (sigmas.every(Number.isFinite)) return sigmas;
  throw new RangeError("These values make a schedule with a sigma that is not a number");
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
  type: "exponential" | "linear",
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
  const from = max ** (1 / karrasRho);
  const to = min ** (1 / karrasRho);
  const values = linspace(0, 1, count).map((ramp) => (from + ramp * (to - from)) ** karrasRho);
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
    min + betaQuantile(1 - at, betaShape, betaShape) * (max - min)
  );
  return { values, single: false };
}

function ends({ values }: Sigmas): { max: number; min: number; count: number } {
  return { max: values[0] ?? NaN, min: values.at(-1) ?? NaN, count: values.length };
}
