import { calculateShift } from "./calculate_shift.ts";
import { type FlowMatchEulerConfig, parseFlowMatchConfig } from "./flow_match_config.ts";
import * as schedule from "./flow_match_sigmas.ts";
import type { Scheduler, SetTimestepsOptions, StepCoefficients, StepOptions } from "./scheduler.ts";

/** Steps beyond this are taken for a mistake. */
const MAX_STEPS = 100_000;
const { fround } = Math;

/**
 * diffusers' FlowMatchEulerDiscreteScheduler: Euler's method along the straight paths of flow
 * matching. Schedules agree with diffusers to 1e-6 of the largest value; arithmetic is float32 where
 * numpy's or torch's is. Source: diffusers `scheduling_flow_match_euler_discrete.py`.
 */
export class FlowMatchEulerDiscreteScheduler implements Scheduler {
  readonly config: FlowMatchEulerConfig;
  timesteps: Float32Array<ArrayBuffer>;
  sigmas: Float32Array<ArrayBuffer>;
  numInferenceSteps: number | undefined;
  /** Noise levels of the training schedule's ends, `shift` included. */
  readonly sigmaMin: number;
  readonly sigmaMax: number;
  private currentShift: number;
  private currentStep: number | undefined;
  private firstStep: number | undefined;

  /** `config`: a parsed scheduler_config.json; see `parseFlowMatchConfig` for what it refuses. */
  constructor(config: Readonly<Record<string, unknown>> = {}) {
    this.config = parseFlowMatchConfig(config);
    const { num_train_timesteps: count, shift, use_dynamic_shifting } = this.config;
    const levels = Array.from({ length: count }, (_, i) => fround((count - i) / count));
    const even = { values: levels, single: true };
    this.sigmas = Float32Array.from(
      (use_dynamic_shifting ? even : schedule.shiftSigmas(even, shift)).values,
    );
    this.timesteps = this.sigmas.map((sigma) => sigma * count);
    this.sigmaMax = this.sigmas[0]!;
    this.sigmaMin = this.sigmas[count - 1]!;
    this.currentShift = shift;
  }

  get shift(): number {
    return this.currentShift;
  }

  get stepIndex(): number | undefined {
    return this.currentStep;
  }

  get beginIndex(): number | undefined {
    return this.firstStep;
  }

  /** Training timesteps. */
  get length(): number {
    return this.config.num_train_timesteps;
  }

  /** For the schedules set from now on; throws RangeError unless positive. */
  setShift(shift: number): void {
    if (!(shift > 0 && shift < Infinity)) {
      throw new RangeError(`shift must be positive, not ${shift}`);
    }
    this.currentShift = shift;
  }

  setBeginIndex(index = 0): void {
    if (!Number.isInteger(index) || index < 0) {
      throw new RangeError(`the begin index must be a whole number, not ${index}`);
    }
    this.firstStep = index;
  }

  /** `mu` for an image of so many tokens, from the config's four shift fields. */
  calculateMu(imageSeqLen: number): number {
    const { config } = this;
    return calculateShift(imageSeqLen, {
      baseSeqLen: config.base_image_seq_len,
      maxSeqLen: config.max_image_seq_len,
      baseShift: config.base_shift,
      maxShift: config.max_shift,
    });
  }

  setTimesteps(options: SetTimestepsOptions): void {
    const { config } = this;
    const count = checkedCount(options);
    const { mu } = options;
    if (config.use_dynamic_shifting && mu === undefined) {
      throw new TypeError("`mu` must be given, since the scheduler has `use_dynamic_shifting`");
    }
    if (mu !== undefined && !Number.isFinite(mu)) {
      throw new RangeError(`mu must be a number, not ${mu}`);
    }
    let levels = this.unshiftedSigmas(options, count);
    levels = config.use_dynamic_shifting
      ? schedule.timeShift(levels, mu!, config.time_shift_type)
      : schedule.shiftSigmas(levels, this.shift);
    if (config.shift_terminal) {
      levels = schedule.stretchToTerminal(levels, config.shift_terminal);
    }
    if (config.use_karras_sigmas) levels = schedule.karrasSigmas(levels);
    else if (config.use_exponential_sigmas) levels = schedule.exponentialSigmas(levels);
    else if (config.use_beta_sigmas) levels = schedule.betaSigmas(levels);

    let sigmas = Float32Array.from(levels.values);
    if (config.invert_sigmas) sigmas = sigmas.map((sigma) => 1 - sigma);
    if (!sigmas.every(Number.isFinite)) {
      throw new RangeError("these values make a schedule with a sigma that is not a number");
    }
    // Custom timesteps too are replaced by those of the shifted sigmas: diffusers pull 14011.
    this.timesteps = sigmas.map((sigma) => sigma * config.num_train_timesteps);
    this.sigmas = new Float32Array(count + 1);
    this.sigmas.set(sigmas);
    this.sigmas[count] = config.invert_sigmas ? 1 : 0;
    this.numInferenceSteps = count;
    this.currentStep = undefined;
    this.firstStep = undefined;
  }

  indexForTimestep(timestep: number): number {
    const wanted = fround(timestep);
    const first = this.timesteps.indexOf(wanted);
    if (first < 0) {
      throw new RangeError(
        `${timestep} is not a timestep of this schedule (pass one of timesteps)`,
      );
    }
    // Of a timestep that occurs twice the second is meant, so that no sigma is skipped when an
    // image-to-image schedule starts in the middle.
    const second = this.timesteps.indexOf(wanted, first + 1);
    return second < 0 ? first : second;
  }

  stepCoefficients(index: number): StepCoefficients {
    const { sigma, next } = this.levelsOf(index);
    if (!this.config.stochastic_sampling) {
      return { sample: 1, velocity: fround(next - sigma), noise: 0 };
    }
    const clean = fround(1 - next);
    return { sample: clean, velocity: fround(-clean * sigma), noise: next };
  }

  step(
    velocity: ArrayLike<number>,
    timestep: number,
    sample: ArrayLike<number>,
    { noise }: StepOptions = {},
  ): Float32Array<ArrayBuffer> {
    checkLengths({ velocity, sample, ...(noise && { noise }) });
    const index = this.currentStep ?? this.firstStep ?? this.indexForTimestep(timestep);
    const { sigma, next } = this.levelsOf(index);
    const result = new Float32Array(sample.length);
    if (this.config.stochastic_sampling) {
      if (!noise) throw new TypeError("`noise` must be given, since sampling is stochastic");
      for (let i = 0; i < result.length; i++) {
        const clean = fround(sample[i]! - fround(sigma * velocity[i]!));
        result[i] = fround(fround(1 - next) * clean) + fround(next * noise[i]!);
      }
    } else {
      const change = fround(next - sigma);
      for (let i = 0; i < result.length; i++) {
        result[i] = sample[i]! + fround(change * velocity[i]!);
      }
    }
    this.currentStep = index + 1;
    return result;
  }

  /**
   * `sigma * noise + (1 - sigma) * sample`. One timestep for all, or a list with one for each equal
   * part of `sample`. Once a step or a begin index is set, that decides in place of the timestep.
   */
  scaleNoise(
    sample: ArrayLike<number>,
    timestep: number | readonly number[],
    noise: ArrayLike<number>,
  ): Float32Array<ArrayBuffer> {
    checkLengths({ sample, noise });
    const timesteps = typeof timestep === "number" ? [timestep] : timestep;
    const size = sample.length / timesteps.length;
    if (!Number.isInteger(size)) {
      throw new RangeError(
        `${sample.length} values cannot be shared by ${timesteps.length} timesteps`,
      );
    }
    const sigmas = timesteps.map((t) => {
      const index = this.firstStep === undefined
        ? this.indexForTimestep(t)
        : this.currentStep ?? this.firstStep;
      if (index >= this.sigmas.length) throw new RangeError(`the schedule has no step ${index}`);
      return this.sigmas[index]!;
    });
    return Float32Array.from(sample, (value, i) => {
      const sigma = sigmas[Math.floor(i / size)]!;
      return fround(sigma * noise[i]!) + fround(fround(1 - sigma) * value);
    });
  }

  clone(): FlowMatchEulerDiscreteScheduler {
    const copy = new FlowMatchEulerDiscreteScheduler(this.config);
    copy.timesteps = this.timesteps.slice();
    copy.sigmas = this.sigmas.slice();
    copy.numInferenceSteps = this.numInferenceSteps;
    copy.currentShift = this.currentShift;
    copy.currentStep = this.currentStep;
    copy.firstStep = this.firstStep;
    return copy;
  }

  toString(): string {
    const steps = this.numInferenceSteps ?? "not set";
    return `FlowMatchEulerDiscreteScheduler(shift: ${this.shift}, steps: ${steps}, ` +
      `stepIndex: ${this.stepIndex ?? "none"})`;
  }

  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  private unshiftedSigmas(
    { sigmas, timesteps }: SetTimestepsOptions,
    count: number,
  ): schedule.Sigmas {
    const { num_train_timesteps: scale } = this.config;
    if (sigmas) return { values: Array.from(sigmas, fround), single: true };
    if (timesteps) {
      return { values: Array.from(timesteps, (t) => fround(fround(t) / scale)), single: true };
    }
    const spaced = schedule.linspace(this.sigmaMax * scale, this.sigmaMin * scale, count);
    return { values: spaced.map((timestep) => timestep / scale), single: false };
  }

  private levelsOf(index: number): { sigma: number; next: number } {
    const sigma = this.sigmas[index];
    const next = this.sigmas[index + 1];
    if (sigma === undefined || next === undefined) {
      throw new RangeError(`the schedule has steps 0 to ${this.sigmas.length - 2}, not ${index}`);
    }
    return { sigma, next };
  }
}

function checkedCount({ numInferenceSteps, sigmas, timesteps }: SetTimestepsOptions): number {
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
    throw new TypeError("one of numInferenceSteps, sigmas and timesteps must be given");
  }
  if (!Number.isInteger(count) || count < 1 || count > MAX_STEPS) {
    throw new RangeError(
      `numInferenceSteps must be an integer from 1 to ${MAX_STEPS}, not ${count}`,
    );
  }
  if (lengths.some((length) => length !== count)) {
    throw new RangeError(
      "sigmas, timesteps and numInferenceSteps must agree in length where they are given",
    );
  }
  return count;
}

function checkLengths(arrays: Record<string, ArrayLike<number>>): void {
  const lengths = Object.entries(arrays).map(([name, { length }]) => `${name} ${length}`);
  if (new Set(Object.values(arrays).map(({ length }) => length)).size > 1) {
    throw new RangeError(`arrays of different lengths: ${lengths.join(", ")}`);
  }
}
