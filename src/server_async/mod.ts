/**
 * What diffusers' `examples/server-async` promises, for any pipeline-like object: a view for each
 * request, a scheduler of its own, tokenizers one at a time.
 */
export {
  type AsyncScheduler,
  BaseAsyncScheduler,
  type RetrievedTimesteps,
  retrieveTimesteps,
  type ScheduleOptions,
  type TimestepScheduler,
} from "./async_scheduler.ts";
export { cloneScheduler } from "./clone_scheduler.ts";
export {
  type PipelineLike,
  type RequestScopedOptions,
  RequestScopedPipeline,
} from "./request_scoped.ts";
export { TokenizerLock, type TokenizerLockOptions } from "./tokenizer_lock.ts";
