/**
 * Stable Diffusion 3 and 3.5 on WebGPU, as a library: open a model, ask it for images.
 *
 * Runs in Deno and in a browser. Files come from a `FileSource`: a server's, dropped ones, or with
 * `directorySource` of the entry `/deno` a folder's.
 */
export { type EngineOptions, openEngine } from "./src/engine/engine.ts";
export type * from "./src/engine/types.ts";
export type { TuningOptions } from "./src/engine/tuning.ts";
export type { BackendChoice } from "./src/backends/choice.ts";
export type { FamilyChoice } from "./src/gpu/adapter.ts";
export { type Gpu, openGpu } from "./src/gpu/device.ts";
export type { WeightType } from "./src/weights/weight_type.ts";
export type { ModelInfo, RequestLimits, RequestRules } from "./src/requests/model_info.ts";
export type { GenerateRequest, ResolvedRequest } from "./src/requests/types.ts";

export { blobSource } from "./src/weights/blob_source.ts";
export { fetchSource } from "./src/weights/fetch_source.ts";
export type { FileSource } from "./src/weights/source.ts";

export { decodePng, encodePng, type PngText } from "./src/image/png.ts";
export type { RgbImage } from "./src/image/rgb_image.ts";

export * from "./src/gpu/errors.ts";
export * from "./src/models/errors.ts";
export * from "./src/requests/errors.ts";
export {
  FileNotFoundError,
  FileReadError,
  WeightsError,
  type WeightsProblems,
} from "./src/weights/errors.ts";
