/** A request's own schedule, from a clone of its model's scheduler. */
import { calculateShift, type Scheduler } from "../schedulers/mod.ts";
import { InvalidRequestError } from "../requests/errors.ts";
import type { ModelDescription } from "../models/sd3/describe.ts";
import type { ResolvedRequest } from "../requests/types.ts";

/**
 * @param model its scheduler is not touched
 * @returns a scheduler of this request alone, its timesteps set
 * @throws InvalidRequestError if the request's values make no schedule
 */
export function scheduleSteps(
  { info, scheduler: template }: Pick<ModelDescription, "info" | "scheduler">,
  request: ResolvedRequest,
): Scheduler {
  const { height, width, sigmas, numInferenceSteps } = request;
  const patches = (height / info.sizeMultiple) * (width / info.sizeMultiple);
  const scheduler = template.clone();
  try {
    scheduler.setTimesteps({
      ...(sigmas ? { sigmas } : { numInferenceSteps }),
      ...shift(template.config, patches),
    });
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    const param = sigmas ? "sigmas" : "num_inference_steps";
    throw Object.assign(new InvalidRequestError(param, error.message), { cause: error });
  }
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
