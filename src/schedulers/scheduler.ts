/** What the pipeline and the denoising loop need of a scheduler. Host numbers only, no tensors. */

export interface SetTimestepsOptions {
  /** A positive integer; must agree with the lengths of the lists if both are given. */
  readonly numInferenceSteps?: number | undefined;
  /** Custom sigmas, before the scheduler's own shift; noise first. */
  readonly sigmas?: ArrayLike<number> | undefined;
  /** Strength of the resolution-dependent shift; needed with `use_dynamic_shifting`. */
  readonly mu?: number | undefined;
  /** Custom timesteps, before the scheduler's own shift. */
  readonly timesteps?: ArrayLike<number> | undefined;
}

/** One step as a linear form: `next = sample * x + velocity * v + noise * n`, n standard normal. */
export interface StepCoefficients {
  readonly sample: number;
  readonly velocity: number;
  /** 0 for a deterministic step. */
  readonly noise: number;
}

export interface StepOptions {
  /** Standard normal values, as many as the sample has; needed by a stochastic step. */
  readonly noise?: ArrayLike<number> | undefined;
}

export interface Scheduler {
  /** Fields of scheduler_config.json, with defaults filled in. */
  readonly config: Readonly<Record<string, unknown>>;
  /** `[steps]`: what the model is told, in units of training timesteps; not rounded. */
  readonly timesteps: Float32Array<ArrayBuffer>;
  /** `[steps + 1]`: noise level before each step, then after the last. */
  readonly sigmas: Float32Array<ArrayBuffer>;
  readonly numInferenceSteps: number | undefined;
  /** Of the next `step`; undefined before the first. */
  readonly stepIndex: number | undefined;
  readonly beginIndex: number | undefined;
  /** Throws RangeError or TypeError for values that make no schedule, leaving the old one. */
  setTimesteps(options: SetTimestepsOptions): void;
  /** Makes the next `step` step `index` of the schedule, whatever its timestep. */
  setBeginIndex(index?: number): void;
  /** Throws RangeError if the schedule does not have the timestep. */
  indexForTimestep(timestep: number): number;
  /** Throws RangeError if `index` is not a step of the schedule. */
  stepCoefficients(index: number): StepCoefficients;
  /** The sample after the next step; advances `stepIndex`. */
  step(
    velocity: ArrayLike<number>,
    timestep: number,
    sample: ArrayLike<number>,
    options?: StepOptions,
  ): Float32Array<ArrayBuffer>;
  /** The sample with the noise that belongs to a timestep. */
  scaleNoise(
    sample: ArrayLike<number>,
    timestep: number | readonly number[],
    noise: ArrayLike<number>,
  ): Float32Array<ArrayBuffer>;
  /** An independent scheduler in the same state. */
  clone(): Scheduler;
}
