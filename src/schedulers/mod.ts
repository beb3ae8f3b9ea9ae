import { DPMSolverMultistepScheduler } from "./dpm_solver_multistep.ts";
import { FlowMatchEulerDiscreteScheduler } from "./flow_match_euler.ts";
import { FlowMatchHeunDiscreteScheduler } from "./flow_match_heun.ts";
import type { Scheduler } from "./scheduler.ts";

/** Every scheduler, by the `_class_name` of scheduler_config.json. */
export const schedulers = {
  DPMSolverMultistepScheduler,
  FlowMatchEulerDiscreteScheduler,
  FlowMatchHeunDiscreteScheduler,
} as const;

export type SchedulerName = keyof typeof schedulers;

/**
 * The scheduler that a parsed scheduler_config.json describes.
 *
 * @throws {TypeError | RangeError} for an unknown class, and what the class itself refuses
 */
export function createScheduler(config: Readonly<Record<string, unknown>>): Scheduler {
  const name = config._class_name;
  if (typeof name !== "string" || !Object.hasOwn(schedulers, name)) {
    throw new TypeError(
      `Unknown scheduler ${JSON.stringify(name)}; known are ${Object.keys(schedulers).join(", ")}`,
    );
  }
  return new schedulers[name as SchedulerName](config);
}

export { calculateShift } from "./calculate_shift.ts";
export type * from "./scheduler.ts";
export type { Combination, Step } from "./step.ts";
