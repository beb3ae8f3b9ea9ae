import type { ShiftConfig } from "./calculate_shift.ts";
import { parseConfig } from "./config.ts";
import * as levels from "./flow_match_sigmas.ts";
import { FlowScheduler } from "./flow_scheduler.ts";
import type { ScheduleOptions } from "./scheduler.ts";
import type { Combination, Step } from "./step.ts";

const { fround } = Math;

/** Fields of a FlowMatchEulerDiscreteScheduler's scheduler_config.json. */
export interface FlowMatchEulerConfig extends Required<ShiftConfig> {
  readonly num_train_timesteps: number;
  readonly shift: number;
  /** Shift by `mu`, given with every schedule, in place of `shift`. */
  readonly use_dynamic_shifting: boolean;
  /** Sigmas rise from 0 to 1, for models that count noise the other way round. */
  readonly invert_sigmas: boolean;
  /** Stretches the schedule so that its last sigma is this. */
  readonly shift_terminal: number | null;
  readonly use_karras_sigmas: boolean;
  readonly use_exponential_sigmas: boolean;
  readonly use_beta_sigmas: boolean;
  readonly time_shift_type: "exponential" | "linear";
  /** Predicts the clean sample in each step and adds fresh noise to it. */
  readonly stochastic_sampling: boolean;
}

const name = "FlowMatchEulerDiscreteScheduler";

function parse(json: Readonly<Record<string, unknown>>): FlowMatchEulerConfig {
  const config = parseConfig<FlowMatchEulerConfig>(json, {
    name,
    defaults: {
      num_train_timesteps: 1000,
      shift: 1,
      use_dynamic_shifting: false,
      base_shift: 0.5,
      max_shift: 1.15,
      base_image_seq_len: 256,
      max_image_seq_len: 4096,
      invert_sigmas: false,
      shift_terminal: null,
      use_karras_sigmas: false,
      use_exponential_sigmas: false,
      use_beta_sigmas: false,
      time_shift_type: "exponential",
      stochastic_sampling: false,
    },
    choices: { time_shift_type: ["exponential", "linear"] },
    whole: ["num_train_timesteps", "base_image_seq_len", "max_image_seq_len"],
    positive: ["shift"],
  });
  const terminal = config.shift_terminal;
  if (terminal !== null && !(terminal >= 0 && terminal < 1)) {
    throw new RangeError(`${name}: "shift_terminal" must be in [0, 1), not ${terminal}`);
  }
  const spacings = (["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"] as const)
    .filter((key) => config[key]);
  if (spacings.length > 1) {
    throw new RangeError(`${name}: only one of ${spacings.join(", ")} can be used`);
  }
  return config;
}

/**
 * diffusers' FlowMatchEulerDiscreteScheduler: Euler's method along the straight paths of flow
 * matching. Schedules agree with diffusers to 1e-6 of the largest value; arithmetic is float32 where
 * numpy's or torch's is. Source: diffusers `scheduling_flow_match_euler_discrete.py`.
 */
export class FlowMatchEulerDiscreteScheduler extends FlowScheduler<FlowMatchEulerConfig> {
  private readonly ends: levels.Ends;
  private currentShift: number;

  /**
   * @param config a parsed scheduler_config.json
   * @throws {TypeError | RangeError} for what it refuses
   */
  constructor(config: Readonly<Record<string, unknown>> = {}) {
    super(parse(config));
    const { num_train_timesteps: count, shift, use_dynamic_shifting } = this.config;
    this.sigmas = levels.trainingSigmas(count, use_dynamic_shifting ? undefined : shift);
    this.timesteps = this.sigmas.map((sigma) => sigma * count);
    this.ends = { max: this.sigmas[0]!, min: this.sigmas[count - 1]! };
    this.currentShift = shift;
  }

  get shift(): number {
    return this.currentShift;
  }

  /**
   * For the schedules from now on.
   *
   * @throws {RangeError} unless positive
   */
  setShift(shift: number): void {
    if (!(shift > 0 && shift < Infinity)) {
      throw new RangeError(`shift must be positive, not ${shift}`);
    }
    this.currentShift = shift;
  }

  schedule({ begin = 0, ...options }: ScheduleOptions): readonly Step[] {
    const { num_train_timesteps: scale, invert_sigmas, stochastic_sampling } = this.config;
    const sigmas = this.#sigmasOf(options);
    // Custom timesteps too are replaced by those of the shifted sigmas: diffusers pull 14011.
    return Array.from(sigmas, (sigma, i): Step => {
      const nextSigma = sigmas[i + 1] ?? Number(invert_sigmas);
      const next = stochastic_sampling
        ? renoise(sigma, nextSigma)
        : { sample: 1, velocity: fround(nextSigma - sigma) };
      return { timestep: fround(sigma * scale), sigma, nextSigma, next };
    }).slice(begin);
  }

  #sigmasOf(options: ScheduleOptions): Float32Array<ArrayBuffer> {
    const { config } = this;
    const { mu } = options;
    const start = levels.startSigmas(options, this.ends, config.num_train_timesteps);
    if (config.use_dynamic_shifting && mu === undefined) {
      throw new TypeError("`mu` must be given, since the scheduler has `use_dynamic_shifting`");
    }
    if (mu !== undefined && !Number.isFinite(mu)) {
      throw new RangeError(`mu must be a number, not ${mu}`);
    }
    let sigmas = config.use_dynamic_shifting
      ? levels.timeShift(start, mu!, config.time_shift_type)
      : levels.shiftSigmas(start, this.shift);
    if (config.shift_terminal) sigmas = levels.stretchToTerminal(sigmas, config.shift_terminal);
    if (config.use_karras_sigmas) sigmas = levels.karrasSigmas(sigmas);
    else if (config.use_exponential_sigmas) sigmas = levels.exponentialSigmas(sigmas);
    else if (config.use_beta_sigmas) sigmas = levels.betaSigmas(sigmas);
    const values = levels.finite(sigmas);
    return config.invert_sigmas ? values.map((sigma) => 1 - sigma) : values;
  }
}

/** The clean sample `x - sigma v`, mixed with fresh noise for the next level. */
function renoise(sigma: number, nextSigma: number): Combination {
  const clean = fround(1 - nextSigma);
  return { sample: clean, velocity: fround(-clean * sigma), noise: nextSigma };
}
