/** What the pipeline needs of a scheduler, and diffusers' stateful face of one. Host numbers only. */
import type { Step } from "./step.ts";

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

export interface ScheduleOptions extends SetTimestepsOptions {
  /** Evaluations left out at the start; a method with a history begins anew after them. */
  readonly begin?: number | undefined;
}

export interface StepOptions {
  /** Standard normal values, as many as the sample has; needed by a stochastic step. */
  readonly noise?: ArrayLike<number> | undefined;
}

export interface Scheduler {
  /** Fields of scheduler_config.json, with defaults filled in. */
  readonly config: Readonly<Record<string, unknown>>;
  /**
   * All evaluations of a run, as data; changes nothing here.
   *
   * @throws {RangeError | TypeError} for values that make no schedule
   */
  schedule(options: ScheduleOptions): readonly Step[];
  /** `[evaluations]`: what the model is told, in units of training timesteps. */
  readonly timesteps: Float32Array<ArrayBuffer>;
  /** `[evaluations + 1]`: noise level before each, then after the last. */
  readonly sigmas: Float32Array<ArrayBuffer>;
  readonly numInferenceSteps: number | undefined;
  /** Of the next `step`; undefined before the first. */
  readonly stepIndex: number | undefined;
  readonly beginIndex: number | undefined;
  /** Throws what `schedule` throws, leaving the old schedule. */
  setTimesteps(options: SetTimestepsOptions): void;
  /** Makes the next `step` step `index` of the schedule, whatever its timestep. */
  setBeginIndex(index?: number): void;
  /** @throws {RangeError} if the schedule does not have the timestep */
  indexForTimestep(timestep: number): number;
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
