/** A request's own schedule, from a clone of its model's scheduler. */
import { retrieveTimesteps } from "../server_async/async_scheduler.ts";
import { calculateShift, type Scheduler } from "../schedulers/mod.ts";
import type { ModelDescription } from "../models/sd3/describe.ts";
import type { ResolvedRequest } from "../requests/types.ts";

/**
 * @param template used as it is: the request's view of a pipeline has its own
 * @returns a scheduler of this request alone, its timesteps set
 */
export function scheduleSteps(
  model: Pick<ModelDescription, "info" | "scheduler">,
  request: ResolvedRequest,
  template: Scheduler = model.scheduler,
): Scheduler {
  const { height, width, sigmas, numInferenceSteps } = request;
  const patches = (height / model.info.sizeMultiple) * (width / model.info.sizeMultiple);
  const { scheduler } = retrieveTimesteps(template, {
    ...(sigmas ? { sigmas: [...sigmas] } : { numInferenceSteps }),
    ...shift(template.config, patches),
    returnScheduler: true,
  });
  return scheduler;
}

/** Resolution-dependent shift, where the scheduler's config asks for it. */
function shift(config: Scheduler["config"], patches: number): { mu?: number } {
  if (!config.use_dynamic_shifting) return {};
  const { base_image_seq_len, max_image_seq_len, base_shift, max_shift } = config as Record<
    string,
    number
  >;
  return {
    mu: calculateShift(patches, {
      baseSeqLen: base_image_seq_len!,
      maxSeqLen: max_image_seq_len!,
      baseShift: base_shift!,
      maxShift: max_shift!,
    }),
  };
}
