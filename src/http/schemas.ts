/**
 * Bodies and answers of the generating routes, in the API's words: the table of fields with what a
 * route knows beside them. The same schemas validate and become `/openapi.json`.
 */

import { z } from "@hono/zod-openapi";
import { fields, rows } from "../requests/fields.ts";
import type { RequestRules } from "../requests/model_info.ts";
import { fieldSchemas, wholeSchema } from "../requests/schema.ts";

const model = (name: string) =>
  z.string().max(300).nullish().openapi({ description: `This server draws with ${name}` });

/** The body of `POST /api/diffusers/inference`. */
export function inferenceSchema(rules: RequestRules) {
  return z.strictObject({
    ...fieldSchemas(rules),
    model: model(rules.model.name),
    stream: z.boolean("must be true or false").nullish()
      .openapi({ description: "Answer with server-sent events" }),
    preview_every: wholeSchema(0, rules.limits.maxSteps).nullish()
      .openapi({ description: "Preview with every k-th progress event" }),
    job: z.string().regex(/^[A-Za-z0-9_-]{8,64}$/, "must be 8 to 64 of A-Z a-z 0-9 _ -").nullish()
      .openapi({ description: "The client's own name for the job, for DELETE /api/jobs/{id}" }),
  }).openapi("InferenceRequest");
}

/** The body of `POST /v1/images/generations`: OpenAI's fields, and ours beside them. */
export function generationsSchema(rules: RequestRules) {
  const schemas = fieldSchemas(rules);
  const { sizeMultiple } = rules.model;
  const { maximum } = fields.width.range(rules);
  const fits = (size: string) =>
    size === "auto" || size.split("x").every((side) => schemas.width!.safeParse(+side).success);
  return z.strictObject({
    ...Object.fromEntries(
      rows.filter(({ field }) => field.openai).map(({ json }) => [json, schemas[json]!]),
    ),
    model: model(rules.model.name),
    n: schemas.num_images_per_prompt!,
    size: z.string()
      .regex(/^(auto|\d{1,5}x\d{1,5})$/, { error: 'must be "auto" or "WIDTHxHEIGHT"', abort: true })
      .refine(fits, {
        error: ({ input }) =>
          `both sides must be multiples of ${sizeMultiple} from ${sizeMultiple} to ${maximum}, ` +
          `not "${input}"`,
      }).nullish()
      .openapi({ description: "Pixels; auto: the model's own size", default: "auto" }),
    response_format: z.enum(["url", "b64_json"]).nullish().openapi({ default: "url" }),
    output_format: z.enum(["png"]).nullish().openapi({ default: "png" }),
    stream: z.boolean("must be true or false").nullish(),
    partial_images: wholeSchema(0, 3).nullish()
      .openapi({ description: "Previews sent before the image, with stream" }),
    quality: z.enum(["auto", "standard"]).nullish()
      .openapi({ description: "Use num_inference_steps instead" }),
    background: z.enum(["auto", "opaque"]).nullish(),
    moderation: z.enum(["auto", "low"]).nullish().openapi({ description: "There is none" }),
    output_compression: z.literal(100).nullish(),
    user: z.string().max(300).nullish().openapi({ description: "Accepted and not used" }),
  }).openapi("ImageGenerationRequest");
}

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
