import { parseConfig } from "./config.ts";
import * as levels from "./flow_match_sigmas.ts";
import { FlowScheduler } from "./flow_scheduler.ts";
import type { ScheduleOptions } from "./scheduler.ts";
import type { Step } from "./step.ts";

const { fround } = Math;

/** Fields of a FlowMatchHeunDiscreteScheduler's scheduler_config.json. */
export interface FlowMatchHeunConfig {
  readonly num_train_timesteps: number;
  readonly shift: number;
}

/**
 * diffusers' FlowMatchHeunDiscreteScheduler without churn: every step but the last, which is Euler's,
 * evaluates the network at both of its ends and goes along the mean. So n steps are 2n - 1
 * evaluations. Custom sigmas, which diffusers' class refuses, are shifted as Euler's.
 * Source: diffusers `scheduling_flow_match_heun_discrete.py`.
 */
export class FlowMatchHeunDiscreteScheduler extends FlowScheduler<FlowMatchHeunConfig> {
  /**
   * @param config a parsed scheduler_config.json
   * @throws {TypeError | RangeError} for what it refuses
   */
  constructor(config: Readonly<Record<string, unknown>> = {}) {
    super(parseConfig<FlowMatchHeunConfig>(config, {
      name: "FlowMatchHeunDiscreteScheduler",
      defaults: { num_train_timesteps: 1000, shift: 1 },
      whole: ["num_train_timesteps"],
      positive: ["shift"],
    }));
  }

  get shift(): number {
    return this.config.shift;
  }

  schedule({ begin = 0, ...options }: ScheduleOptions): readonly Step[] {
    const { num_train_timesteps: scale, shift } = this.config;
    if (begin % 2 !== 0) {
      throw new RangeError(`evaluation ${begin} is the second half of a step of Heun's method`);
    }
    const training = levels.trainingSigmas(scale, shift);
    const ends = { max: training[0]!, min: training.at(-1)! };
    const start = levels.startSigmas(options, ends, scale);
    const sigmas = levels.finite(levels.shiftSigmas(start, shift));
    return Array.from(sigmas).flatMap((sigma, i): Step[] => {
      const nextSigma = sigmas[i + 1] ?? 0;
      const change = fround(nextSigma - sigma);
      const at = (level: number) => ({ timestep: fround(level * scale), sigma: level, nextSigma });
      const euler = { ...at(sigma), next: { sample: 1, velocity: change } };
      if (i === sigmas.length - 1) return [euler];
      return [
        { ...euler, keep: [{ sample: 1, velocity: change / 2 }] },
        { ...at(nextSigma), next: { sample: 0, velocity: change / 2, kept: [1] } },
      ];
    }).slice(begin);
  }
}
