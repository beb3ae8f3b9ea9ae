/** A request's own steps: plain data from its model's scheduler, which stays as it is. */
import { calculateShift, type Step } from "../schedulers/mod.ts";
import { InvalidRequestError } from "../requests/errors.ts";
import type { ModelDescription } from "../models/sd3/describe.ts";
import { imageTokens } from "../requests/model_info.ts";
import type { ResolvedRequest } from "../requests/types.ts";

/** @throws {InvalidRequestError} if the request's values make no schedule */
export function scheduleSteps(
  { info, scheduler }: Pick<ModelDescription, "info" | "scheduler">,
  { height, width, sigmas, numInferenceSteps }: ResolvedRequest,
): readonly Step[] {
  const patches = imageTokens(info, { height, width });
  const mu = scheduler.config.use_dynamic_shifting
    ? calculateShift(patches, scheduler.config)
    : undefined;
  try {
    return scheduler.schedule({ ...(sigmas ? { sigmas } : { numInferenceSteps }), mu });
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    const param = sigmas ? "sigmas" : "num_inference_steps";
    throw Object.assign(new InvalidRequestError(param, error.message), { cause: error });
  }
}
