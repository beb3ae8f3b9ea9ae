import type { ScheduleOptions, Scheduler, SetTimestepsOptions, StepOptions } from "./scheduler.ts";
import { combine, drawsNoise, type Step } from "./step.ts";

const { fround } = Math;

/**
 * Diffusers' stateful interface over a flow-matching `schedule`: whoever extends this says which steps
 * there are, and the bookkeeping of a run is the same for all.
 */
export abstract class FlowScheduler<C extends object> implements Scheduler {
  readonly config: Readonly<Record<string, unknown>> & C;
  timesteps: Float32Array<ArrayBuffer> = new Float32Array(0);
  sigmas: Float32Array<ArrayBuffer> = new Float32Array(0);
  numInferenceSteps: number | undefined;
  /** What the schedule was set with. */
  private options: SetTimestepsOptions | undefined;
  /** The steps of the run in progress, from the first one taken. */
  private run: { readonly begin: number; readonly steps: readonly Step[] } | undefined;
  private kept: Float32Array<ArrayBuffer>[] = [];
  private currentStep: number | undefined;
  private firstStep: number | undefined;

  constructor(config: C) {
    this.config = config as Readonly<Record<string, unknown>> & C;
  }

  abstract readonly shift: number;
  abstract schedule(options: ScheduleOptions): readonly Step[];

  get stepIndex(): number | undefined {
    return this.currentStep;
  }

  get beginIndex(): number | undefined {
    return this.firstStep;
  }

  setBeginIndex(index = 0): void {
    if (!Number.isInteger(index) || index < 0) {
      throw new RangeError(`The begin index must be a whole number, not ${index}`);
    }
    this.firstStep = index;
    this.run = undefined;
  }

  setTimesteps({ numInferenceSteps, sigmas, mu, timesteps }: SetTimestepsOptions): void {
    const options = {
      ...{ numInferenceSteps, mu },
      sigmas: sigmas && Array.from(sigmas),
      timesteps: timesteps && Array.from(timesteps),
    };
    const steps = this.schedule(options);
    this.options = options;
    this.timesteps = Float32Array.from(steps, ({ timestep }) => timestep);
    this.sigmas = Float32Array.of(...steps.map(({ sigma }) => sigma), steps.at(-1)!.nextSigma);
    this.numInferenceSteps = numInferenceSteps ?? (sigmas ?? timesteps)!.length;
    this.currentStep = undefined;
    this.firstStep = undefined;
    this.run = undefined;
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

  step(
    velocity: ArrayLike<number>,
    timestep: number,
    sample: ArrayLike<number>,
    { noise }: StepOptions = {},
  ): Float32Array<ArrayBuffer> {
    checkLengths({ velocity, sample, ...(noise && { noise }) });
    const index = this.currentStep ?? this.firstStep ?? this.indexForTimestep(timestep);
    const run = this.run ?? this.#begun(index);
    const step = run.steps[index - run.begin];
    if (!step) {
      throw new RangeError(
        `The schedule has steps 0 to ${this.timesteps.length - 1}, not ${index}`,
      );
    }
    if (drawsNoise(step) && !noise) {
      throw new TypeError("`noise` must be given, since sampling is stochastic");
    }
    const tensors = { sample, velocity, noise, kept: this.kept };
    const next = combine(step.next, tensors);
    const keep = step.keep?.map((sum) => combine(sum, tensors)) ?? [];
    this.kept = [...keep, ...this.kept.slice(keep.length)];
    this.run = run;
    this.currentStep = index + 1;
    return next;
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
      if (index >= this.sigmas.length) throw new RangeError(`The schedule has no step ${index}`);
      return this.sigmas[index]!;
    });
    return Float32Array.from(sample, (value, i) => {
      const sigma = sigmas[Math.floor(i / size)]!;
      return fround(sigma * noise[i]!) + fround(fround(1 - sigma) * value);
    });
  }

  clone(): this {
    const Class = this.constructor as new (config: C) => this;
    const { config, ...state } = this as FlowScheduler<C>;
    return Object.assign(new Class(config), structuredClone(state));
  }

  toString(): string {
    const steps = this.numInferenceSteps ?? "not set";
    return `${this.constructor.name}(shift: ${this.shift}, steps: ${steps}, ` +
      `stepIndex: ${this.stepIndex ?? "none"})`;
  }

  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  #begun(begin: number) {
    if (!this.options) throw new TypeError("setTimesteps must be called before step");
    this.kept = [];
    return { begin, steps: this.schedule({ ...this.options, begin }) };
  }
}

function checkLengths(arrays: Record<string, ArrayLike<number>>): void {
  const lengths = Object.entries(arrays).map(([name, { length }]) => `${name} ${length}`);
  if (new Set(Object.values(arrays).map(({ length }) => length)).size > 1) {
    throw new RangeError(`Arrays of different lengths: ${lengths.join(", ")}`);
  }
}
