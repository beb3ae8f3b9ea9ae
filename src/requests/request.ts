/** Where a request enters: defaults filled in, every value checked, before any GPU work. */
import { InvalidRequestError } from "./errors.ts";
import type { GenerateRequest, ResolvedRequest, SkipLayerGuidance } from "./types.ts";
import type { ModelInfo } from "./model_info.ts";

/** torch seeds its CPU generator with 32 bits; larger seeds are taken modulo 2^32 there as here. */
const largestSeed = Number.MAX_SAFE_INTEGER;
const mostSteps = 1000;
const mostImages = 64;

/** A seed for a request that named none. */
function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}

/**
 * Fills in the model's defaults and checks every field.
 *
 * @throws InvalidRequestError naming the field and what is allowed
 */
export function resolveRequest(request: GenerateRequest, model: ModelInfo): ResolvedRequest {
  const { defaults } = model;
  const prompt = text("prompt", request.prompt);
  const negativePrompt = text("negative_prompt", request.negativePrompt ?? "");
  const sigmas = request.sigmas === undefined ? undefined : checkSigmas(request.sigmas);
  const steps = request.numInferenceSteps;
  if (sigmas && steps !== undefined && steps !== sigmas.length) {
    throw new InvalidRequestError(
      "sigmas",
      `sigmas has ${sigmas.length} values but num_inference_steps is ${steps}: give one of the two`,
    );
  }
  const seed = integer("seed", request.seed ?? randomSeed(), 0, largestSeed);
  const size = (param: "height" | "width") => {
    const value = integer(param, request[param] ?? defaults[param], 1, model.maxSize);
    if (value % model.sizeMultiple !== 0) {
      throw new InvalidRequestError(
        param,
        `${param} must be a multiple of ${model.sizeMultiple} from ${model.sizeMultiple} to ` +
          `${model.maxSize}, got ${value}`,
      );
    }
    return value;
  };
  return {
    prompt,
    prompt2: text("prompt_2", request.prompt2 ?? prompt),
    prompt3: text("prompt_3", request.prompt3 ?? prompt),
    negativePrompt,
    negativePrompt2: text("negative_prompt_2", request.negativePrompt2 ?? negativePrompt),
    negativePrompt3: text("negative_prompt_3", request.negativePrompt3 ?? negativePrompt),
    height: size("height"),
    width: size("width"),
    numInferenceSteps: sigmas?.length ??
      integer("num_inference_steps", steps ?? defaults.numInferenceSteps, 1, mostSteps),
    guidanceScale: number(
      "guidance_scale",
      request.guidanceScale ?? defaults.guidanceScale,
      0,
      1000,
    ),
    sigmas,
    numImagesPerPrompt: integer(
      "num_images_per_prompt",
      request.numImagesPerPrompt ?? 1,
      1,
      mostImages,
    ),
    maxSequenceLength: integer(
      "max_sequence_length",
      request.maxSequenceLength ?? defaults.maxSequenceLength,
      1,
      model.maxSequenceLength,
    ),
    seed,
    skipLayerGuidance: request.skipLayerGuidance &&
      checkSkipLayers(request.skipLayerGuidance, model),
  };
}

function checkSigmas(sigmas: readonly number[]): readonly number[] {
  if (!Array.isArray(sigmas) || sigmas.length < 1 || sigmas.length > mostSteps) {
    throw new InvalidRequestError("sigmas", `sigmas must be a list of 1 to ${mostSteps} numbers`);
  }
  for (const [i, sigma] of sigmas.entries()) {
    const previous = sigmas[i - 1] ?? Infinity;
    if (!Number.isFinite(sigma) || sigma <= 0 || sigma > 1 || sigma >= previous) {
      throw new InvalidRequestError(
        "sigmas",
        `sigmas must fall strictly and lie in (0, 1], got ${sigma} at index ${i}`,
      );
    }
  }
  return sigmas;
}

function checkSkipLayers(given: Partial<SkipLayerGuidance>, model: ModelInfo): SkipLayerGuidance {
  if (model.skipsLayers === false) {
    throw new InvalidRequestError(
      "skip_guidance_layers",
      "skip_guidance_layers needs the WGSL engine: this model's transformer is an ONNX graph",
    );
  }
  const layers = given.layers ?? [];
  if (layers.length === 0) {
    throw new InvalidRequestError(
      "skip_guidance_layers",
      `skip_guidance_layers must list blocks from 0 to ${model.numLayers - 1}`,
    );
  }
  for (const layer of layers) integer("skip_guidance_layers", layer, 0, model.numLayers - 1);
  return {
    layers: [...new Set(layers)].sort((a, b) => a - b),
    scale: number("skip_layer_guidance_scale", given.scale ?? 2.8, 0, 1000),
    start: number("skip_layer_guidance_start", given.start ?? 0.01, 0, 1),
    stop: number("skip_layer_guidance_stop", given.stop ?? 0.2, 0, 1),
  };
}

function text(param: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw new InvalidRequestError(param, `${param} must be a string, got ${typeof value}`);
}

function integer(param: string, value: unknown, least: number, most: number): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= least && value <= most) {
    return value;
  }
  throw new InvalidRequestError(
    param,
    `${param} must be an integer from ${least} to ${most}, got ${show(value)}`,
  );
}

function number(param: string, value: unknown, least: number, most: number): number {
  if (typeof value === "number" && value >= least && value <= most) return value;
  throw new InvalidRequestError(
    param,
    `${param} must be a number from ${least} to ${most}, got ${show(value)}`,
  );
}

function show(value: unknown): string {
  return typeof value === "number" || typeof value === "boolean" ? `${value}` : typeof value;
}
