/**
 * What requests may say and what answers look like, in the API's words: the same schemas validate,
 * convert to the core's names (once, here) and become `/openapi.json`.
 */

import { z } from "@hono/zod-openapi";
import type { GenerateRequest } from "../requests/types.ts";
import type { ModelInfo } from "../requests/model_info.ts";
import type { ServerConfig } from "./config.ts";

/** Largest values of fields; published in `GET /api/status`. */
export interface FieldLimits {
  readonly maxSize: number;
  readonly sizeMultiple: number;
  readonly maxSteps: number;
  readonly maxImages: number;
  readonly maxPromptLength: number;
  readonly maxSequenceLength: number;
  readonly maxGuidanceScale: number;
  readonly maxSeed: number;
  readonly numLayers: number;
}

/** What the configuration allows and the model can do, whichever is less. */
export function fieldLimits(config: ServerConfig, model: ModelInfo): FieldLimits {
  return {
    maxSize: Math.min(config.maxSize, model.maxSize),
    sizeMultiple: model.sizeMultiple,
    maxSteps: config.maxSteps,
    maxImages: config.maxImages,
    maxPromptLength: config.maxPromptLength,
    maxSequenceLength: model.maxSequenceLength,
    maxGuidanceScale: 100,
    // Image k takes seed + k, which must stay exact.
    maxSeed: Number.MAX_SAFE_INTEGER - config.maxImages,
    numLayers: model.numLayers,
  };
}

function promptSchema(limits: FieldLimits, description: string) {
  return z.string()
    .max(limits.maxPromptLength, `at most ${limits.maxPromptLength} characters are allowed`)
    .refine((text) => text.isWellFormed(), "must be valid Unicode, without lone surrogates")
    .openapi({ description });
}

function whole(minimum: number, maximum: number, description: string) {
  const message = `must be a whole number from ${minimum} to ${maximum}`;
  return z.int(message).min(minimum, message).max(maximum, message).openapi({ description });
}

function number(minimum: number, maximum: number, description: string) {
  const message = `must be a number from ${minimum} to ${maximum}`;
  return z.number(message).min(minimum, message).max(maximum, message).openapi({ description });
}

/** Fields that both routes know by the same name. */
function sharedFields(limits: FieldLimits, model: ModelInfo) {
  const { defaults } = model;
  return {
    prompt: promptSchema(limits, "What the image shows").openapi({ example: "a red circle" }),
    negative_prompt: promptSchema(limits, "What it should not show").nullish(),
    num_inference_steps: whole(1, limits.maxSteps, "Denoising steps").nullish()
      .openapi({ default: defaults.numInferenceSteps }),
    guidance_scale: number(0, limits.maxGuidanceScale, "Classifier-free guidance; 1: none")
      .nullish().openapi({ default: defaults.guidanceScale }),
    seed: whole(0, limits.maxSeed, "Image k is drawn with seed + k; at random if absent").nullish(),
    model: z.string().max(300).nullish()
      .openapi({ description: `This server draws with ${model.name}` }),
  };
}

/** The body of `POST /api/diffusers/inference`. */
export function inferenceSchema(limits: FieldLimits, model: ModelInfo) {
  const { defaults, sizeMultiple } = model;
  const side = (name: string, fallback: number) => {
    const message =
      `must be a multiple of ${sizeMultiple} from ${sizeMultiple} to ${limits.maxSize}`;
    return z.int(message).min(sizeMultiple, message).max(limits.maxSize, message)
      .multipleOf(sizeMultiple, message).nullish()
      .openapi({ description: `${name} in pixels`, default: fallback, multipleOf: sizeMultiple });
  };
  return z.strictObject({
    ...sharedFields(limits, model),
    prompt_2: promptSchema(limits, "For the second CLIP; prompt if absent").nullish(),
    prompt_3: promptSchema(limits, "For T5; prompt if absent").nullish(),
    negative_prompt_2: promptSchema(limits, "For the second CLIP").nullish(),
    negative_prompt_3: promptSchema(limits, "For T5").nullish(),
    height: side("Height", defaults.height),
    width: side("Width", defaults.width),
    num_images_per_prompt: whole(1, limits.maxImages, "Images of this request").nullish()
      .openapi({ default: 1 }),
    max_sequence_length: whole(1, limits.maxSequenceLength, "T5 tokens of the context").nullish()
      .openapi({ default: defaults.maxSequenceLength }),
    sigmas: z.array(number(0, 1, "Noise level")).min(1).max(limits.maxSteps).nullish()
      .openapi({ description: "Custom schedule; replaces num_inference_steps" }),
    skip_guidance_layers: z.array(whole(0, limits.numLayers - 1, "Transformer block")).min(1)
      .max(limits.numLayers).nullish()
      .openapi({ description: "Blocks left out of the extra prediction" }),
    skip_layer_guidance_scale: number(-100, 100, "Weight; needs skip_guidance_layers").nullish()
      .openapi({ default: 2.8 }),
    skip_layer_guidance_start: number(0, 1, "Fraction of the steps").nullish()
      .openapi({ default: 0.01 }),
    skip_layer_guidance_stop: number(0, 1, "Fraction of the steps").nullish()
      .openapi({ default: 0.2 }),
    stream: z.boolean("must be true or false").nullish()
      .openapi({ description: "Answer with server-sent events" }),
    preview_every: whole(0, limits.maxSteps, "Preview with every k-th progress event").nullish(),
    job: z.string().regex(/^[A-Za-z0-9_-]{8,64}$/, "must be 8 to 64 of A-Z a-z 0-9 _ -").nullish()
      .openapi({ description: "The client's own name for the job, for DELETE /api/jobs/{id}" }),
  }).openapi("InferenceRequest");
}

export type InferenceBody = z.infer<ReturnType<typeof inferenceSchema>>;

/** The body in the core's names. The one place where snake_case ends. */
export function toGenerateRequest(body: InferenceBody): GenerateRequest {
  const layers = body.skip_guidance_layers ?? undefined;
  return {
    prompt: body.prompt,
    prompt2: body.prompt_2 ?? undefined,
    prompt3: body.prompt_3 ?? undefined,
    negativePrompt: body.negative_prompt ?? undefined,
    negativePrompt2: body.negative_prompt_2 ?? undefined,
    negativePrompt3: body.negative_prompt_3 ?? undefined,
    height: body.height ?? undefined,
    width: body.width ?? undefined,
    numInferenceSteps: body.num_inference_steps ?? undefined,
    guidanceScale: body.guidance_scale ?? undefined,
    sigmas: body.sigmas ?? undefined,
    numImagesPerPrompt: body.num_images_per_prompt ?? undefined,
    maxSequenceLength: body.max_sequence_length ?? undefined,
    seed: body.seed ?? undefined,
    skipLayerGuidance: layers && {
      layers,
      ...(body.skip_layer_guidance_scale != null && { scale: body.skip_layer_guidance_scale }),
      ...(body.skip_layer_guidance_start != null && { start: body.skip_layer_guidance_start }),
      ...(body.skip_layer_guidance_stop != null && { stop: body.skip_layer_guidance_stop }),
    },
  };
}

/** The body of `POST /v1/images/generations`: OpenAI's fields, and ours beside them. */
export function generationsSchema(limits: FieldLimits, model: ModelInfo) {
  return z.strictObject({
    ...sharedFields(limits, model),
    n: whole(1, limits.maxImages, "Number of images").nullish().openapi({ default: 1 }),
    size: z.string().regex(/^(auto|\d{1,5}x\d{1,5})$/, 'must be "auto" or "WIDTHxHEIGHT"').nullish()
      .openapi({ description: "Pixels; auto: the model's own size", default: "auto" }),
    response_format: z.enum(["url", "b64_json"]).nullish().openapi({ default: "url" }),
    output_format: z.enum(["png"]).nullish().openapi({ default: "png" }),
    stream: z.boolean("must be true or false").nullish(),
    partial_images: whole(0, 3, "Previews sent before the image, with stream").nullish(),
    quality: z.enum(["auto", "standard"]).nullish()
      .openapi({ description: "Use num_inference_steps instead" }),
    background: z.enum(["auto", "opaque"]).nullish(),
    moderation: z.enum(["auto", "low"]).nullish().openapi({ description: "There is none" }),
    output_compression: z.literal(100).nullish(),
    user: z.string().max(300).nullish().openapi({ description: "Accepted and not used" }),
  }).openapi("ImageGenerationRequest");
}

export type GenerationsBody = z.infer<ReturnType<typeof generationsSchema>>;

const timings = z.object({
  queued: z.number(),
  encode: z.number(),
  denoise: z.number(),
  decode: z.number(),
  total: z.number(),
}).openapi("Timings", { description: "Seconds" });

const memory = z.object({ encode: z.int(), denoise: z.int(), decode: z.int() })
  .openapi("StageMemory", { description: "Bytes of GPU memory in use at the end of each stage" });

const truncated = z.array(z.object({
  encoder: z.enum(["clip_l", "clip_g", "t5"]),
  field: z.enum(["prompt", "negative_prompt"]),
  removed: z.string(),
})).openapi({ description: "What did not fit into a text encoder's token limit" });

const parameters = z.record(z.string(), z.unknown())
  .openapi({ description: "Every field of the request with its resolved value" });

export const inferenceResponseSchema = z.object({
  response: z.array(z.url()).openapi({ description: "Image URLs" }),
  seeds: z.array(z.int()).openapi({ description: "One for each image" }),
  parameters,
  timings,
  memory,
  truncated,
  model: z.string(),
  job: z.string(),
}).openapi("InferenceResponse");

export const generationsResponseSchema = z.object({
  created: z.int().openapi({ description: "Unix time" }),
  background: z.literal("opaque"),
  output_format: z.literal("png"),
  quality: z.literal("auto"),
  size: z.string(),
  data: z.array(z.object({
    url: z.url().optional(),
    b64_json: z.string().optional(),
    seed: z.int(),
  })),
  seeds: z.array(z.int()),
  parameters,
  timings,
  memory,
  truncated,
  model: z.string(),
  job: z.string(),
}).openapi("ImageGenerationResponse");

export const errorSchema = z.object({
  error: z.object({
    type: z.string(),
    message: z.string(),
    param: z.string().optional().openapi({ description: "The field at fault" }),
  }),
}).openapi("Error");
