import { parseConfig } from "./config.ts";
import * as levels from "./flow_match_sigmas.ts";
import { FlowScheduler } from "./flow_scheduler.ts";
import type { ScheduleOptions } from "./scheduler.ts";
import type { Combination, Step } from "./step.ts";

/** Fields of a DPMSolverMultistepScheduler's scheduler_config.json that matter to flow matching. */
export interface DpmSolverMultistepConfig {
  readonly num_train_timesteps: number;
  readonly solver_order: number;
  readonly prediction_type: string;
  readonly thresholding: boolean;
  readonly algorithm_type: "dpmsolver++" | "sde-dpmsolver++";
  readonly solver_type: "midpoint" | "heun";
  /** With fewer than 15 steps the last ones are of lower order. */
  readonly lower_order_final: boolean;
  readonly euler_at_final: boolean;
  readonly use_karras_sigmas: boolean;
  readonly use_exponential_sigmas: boolean;
  readonly use_beta_sigmas: boolean;
  readonly use_lu_lambdas: boolean;
  readonly use_flow_sigmas: boolean;
  readonly flow_shift: number;
  readonly final_sigmas_type: string;
  /** Shift by `exp(mu)`, given with every schedule, in place of `flow_shift`. */
  readonly use_dynamic_shifting: boolean;
  readonly time_shift_type: string;
}

const name = "DPMSolverMultistepScheduler";
/** Below so many steps, the last ones are of lower order. */
const fewSteps = 15;

/**
 * diffusers' DPMSolverMultistepScheduler on flow matching: DPM-Solver++ of order 1 to 3 and its
 * stochastic form, from the clean samples that the last evaluations predicted. The model is told whole
 * timesteps, rounded down. Custom sigmas, which diffusers' class refuses, are shifted as the others.
 * Sources: diffusers `scheduling_dpmsolver_multistep.py`; Lu et al. 2022, arXiv 2211.01095.
 */
export class DPMSolverMultistepScheduler extends FlowScheduler<DpmSolverMultistepConfig> {
  /**
   * @param config a parsed scheduler_config.json
   * @throws {TypeError | RangeError} for what it refuses
   */
  constructor(config: Readonly<Record<string, unknown>> = {}) {
    super(parseConfig<DpmSolverMultistepConfig>(config, {
      name,
      defaults: {
        num_train_timesteps: 1000,
        solver_order: 2,
        prediction_type: "epsilon",
        thresholding: false,
        algorithm_type: "dpmsolver++",
        solver_type: "midpoint",
        lower_order_final: true,
        euler_at_final: false,
        use_karras_sigmas: false,
        use_exponential_sigmas: false,
        use_beta_sigmas: false,
        use_lu_lambdas: false,
        use_flow_sigmas: false,
        flow_shift: 1,
        final_sigmas_type: "zero",
        use_dynamic_shifting: false,
        time_shift_type: "exponential",
      },
      choices: {
        solver_order: [1, 2, 3],
        prediction_type: ["flow_prediction"],
        thresholding: [false],
        algorithm_type: ["dpmsolver++", "sde-dpmsolver++"],
        solver_type: ["midpoint", "heun"],
        use_karras_sigmas: [false],
        use_exponential_sigmas: [false],
        use_beta_sigmas: [false],
        use_lu_lambdas: [false],
        use_flow_sigmas: [true],
        final_sigmas_type: ["zero"],
        time_shift_type: ["exponential"],
      },
      whole: ["num_train_timesteps"],
      positive: ["flow_shift"],
      ignored: [
        ...["beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr"],
        ...["dynamic_thresholding_ratio", "sample_max_value", "lambda_min_clipped"],
        ...["variance_type", "timestep_spacing", "steps_offset"],
      ],
    }));
    if (this.config.solver_order === 3 && this.#isStochastic) {
      throw new RangeError(`${name}: "solver_order" must be 1 or 2 for "sde-dpmsolver++", not 3`);
    }
  }

  get shift(): number {
    return this.config.flow_shift;
  }

  schedule({ begin = 0, ...options }: ScheduleOptions): readonly Step[] {
    const { num_train_timesteps: scale, solver_order } = this.config;
    const shifted = this.#sigmasOf(options);
    const sigmas = levels.finite(shifted);
    const last = sigmas.length - 1;
    if (!sigmas.every((sigma, i) => sigma <= 1 && sigma > (sigmas[i + 1] ?? 0))) {
      throw new RangeError("The sigmas of a multistep solver must fall, from at most 1 to above 0");
    }
    return Array.from(sigmas.subarray(begin), (sigma, taken): Step => {
      const i = begin + taken;
      const nextSigma = sigmas[i + 1] ?? 0;
      const order = this.#orderOf(i, taken, sigmas.length);
      const earlier = Array.from({ length: order - 1 }, (_, k) => sigmas[i - 1 - k]!);
      const { sample, clean } = this.#solve(nextSigma, sigma, earlier);
      const [now, ...kept] = clean;
      const noise = this.#noiseOf(nextSigma, sigma);
      // The clean sample is x - sigma v.
      const next: Combination = {
        sample: sample + now!,
        velocity: -sigma * now!,
        ...(noise > 0 && { noise }),
        ...(kept.length > 0 && { kept }),
      };
      const keep = Array.from(
        { length: i === last ? 0 : Math.min(solver_order - 1, taken + 1) },
        (_, slot) =>
          slot === 0
            ? { sample: 1, velocity: -sigma }
            : { sample: 0, velocity: 0, kept: [...Array(slot - 1).fill(0), 1] },
      );
      const timestep = Math.trunc(shifted.values[i]! * scale);
      return { timestep, sigma, nextSigma, next, ...(keep.length > 0 && { keep }) };
    });
  }

  #sigmasOf(options: ScheduleOptions): levels.Sigmas {
    const { num_train_timesteps: scale, use_dynamic_shifting, flow_shift } = this.config;
    const { mu, sigmas, timesteps } = options;
    if (use_dynamic_shifting && !Number.isFinite(mu)) {
      throw new TypeError("`mu` must be given, since the scheduler has `use_dynamic_shifting`");
    }
    const custom = sigmas !== undefined || timesteps !== undefined;
    const count = levels.checkedCount(options);
    // One level more than steps from 1 - 1/scale down to 0, of which the 0 is appended anew.
    const spaced = levels.linspace(1, 1 / scale, count + 1).map((alpha) => 1 - alpha).reverse();
    const start = custom
      ? levels.startSigmas(options, { max: 1, min: 0 }, scale)
      : { values: spaced.slice(0, -1), single: false };
    return levels.shiftSigmas(start, use_dynamic_shifting ? Math.exp(mu!) : flow_shift);
  }

  /** Order of step `i` of `count`, with so many taken before it. */
  #orderOf(i: number, taken: number, count: number): number {
    const { solver_order, lower_order_final } = this.config;
    // The end at sigma 0 has no half-logarithm of the signal-to-noise ratio to extrapolate to.
    if (i === count - 1) return 1;
    const few = lower_order_final && count < fewSteps;
    return Math.min(solver_order, taken + 1, few && i === count - 2 ? 2 : 3);
  }

  get #isStochastic(): boolean {
    return this.config.algorithm_type === "sde-dpmsolver++";
  }

  #noiseOf(next: number, sigma: number): number {
    if (!this.#isStochastic) return 0;
    return next * Math.sqrt(1 - Math.exp(-2 * (lambda(next) - lambda(sigma))));
  }

  /**
   * The step from `sigma` to `next` in terms of the sample and the clean samples, newest first.
   *
   * @param earlier sigmas of the evaluations before, newest first: one less than the order
   */
  #solve(next: number, sigma: number, earlier: readonly number[]) {
    const h = lambda(next) - lambda(sigma);
    const factor = this.#isStochastic ? 2 : 1;
    const sample = next / sigma * (this.#isStochastic ? Math.exp(-h) : 1);
    // Weights of the clean sample and of its first and second differences.
    const gain = (1 - next) * -Math.expm1(-factor * h);
    const first = (1 - next) * (Math.expm1(-factor * h) / (factor * h) + 1);
    const second = (1 - next) * ((-Math.expm1(-h) - h) / h ** 2 + 0.5);
    if (earlier.length === 0) return { sample, clean: [gain] };
    const [r0, r1] = [sigma, ...earlier].slice(0, -1).map((level, k) =>
      (lambda(level) - lambda(earlier[k]!)) / h
    );
    if (r1 === undefined) {
      const slope = (this.config.solver_type === "heun" ? first : gain / 2) / r0!;
      return { sample, clean: [gain + slope, -slope] };
    }
    // Differences as sums of the three clean samples.
    const d0 = [1 / r0!, -1 / r0!, 0];
    const d1 = [0, 1 / r1, -1 / r1];
    const curve = d0.map((value, k) => (value - d1[k]!) / (r0! + r1));
    const slope = d0.map((value, k) => value + r0! * curve[k]!);
    const clean = slope.map((value, k) => first * value + second * curve[k]!);
    return { sample, clean: [gain + clean[0]!, ...clean.slice(1)] };
  }
}

/** Half the logarithm of the signal-to-noise ratio; infinite at sigma 0. */
function lambda(sigma: number): number {
  return Math.log(1 - sigma) - Math.log(sigma);
}
