/** `GET /api/status`: the model, its memory, the requests, the adapter, and what is allowed. */

import { createRoute, z } from "@hono/zod-openapi";
import type { TuningReport } from "../../engine/types.ts";
import { fieldFacts, rows } from "../../requests/fields.ts";
import { toJson } from "../../requests/json.ts";
import type { Route } from "../context.ts";

const field = z.object({
  minimum: z.number().openapi({
    description: "Of a number, of each of a list, or a text's length",
  }),
  maximum: z.number(),
  step: z.number().optional().openapi({ description: "Values are multiples of this" }),
  exclusive: z.boolean().optional().openapi({ description: "The minimum itself is not allowed" }),
});

const statusSchema = z.object({
  current_model: z.string(),
  type_models: z.literal("t2im"),
  pipeline: z.string().openapi({ description: "_class_name of model_index.json" }),
  variant: z.string().optional()
    .openapi({ description: "Which published model it is, where its files say so" }),
  recommended: z.record(z.string(), z.unknown()).optional()
    .openapi({ description: "Fields as the model's makers recommend them; no defaults" }),
  backends: z.record(z.string(), z.string()).optional()
    .openapi({ description: "What runs each network: wgsl or onnx" }),
  weight_type: z.string().optional()
    .openapi({ description: "Weights in GPU memory: auto (as stored), f32, q8_0 or q4_0" }),
  kernels: z.string().optional()
    .openapi({ description: "Which family of kernels runs: gpu or software" }),
  state: z.string().openapi({ description: "ready, reopening, failed or shutting down" }),
  uptime: z.number().openapi({ description: "Seconds" }),
  memory: z.object({
    weights: z.number(),
    arena: z.number(),
    requests: z.number(),
    cache: z.number(),
    budget: z.number(),
  }).openapi({ description: "Bytes of GPU memory, by owner" }),
  prompt_cache: z.object({ hits: z.int(), misses: z.int() })
    .openapi({ description: "Prompts found encoded already, and encoded" }),
  requests: z.object({ total: z.int(), active: z.int(), waiting: z.int() }),
  adapter: z.object({
    vendor: z.string(),
    architecture: z.string(),
    description: z.string(),
    features: z.array(z.string()),
    vector_bits: z.int().optional(),
  }),
  tuning: z.object({
    seconds: z.number().openapi({ description: "Spent on timing kernels" }),
    kernels: z.array(z.object({
      shape: z.string(),
      kernel: z.string(),
      source: z.enum(["measured", "cached", "default"]),
    })),
    batches: z.array(z.object({
      tokens: z.number(),
      max_batch: z.int(),
      source: z.enum(["measuring", "measured", "cached", "fixed"]),
    })),
    problem: z.string().optional()
      .openapi({ description: "Why results are not kept, or earlier ones not used" }),
  }).optional().openapi({ description: "What was chosen by timing; absent under --no-tune" }),
  images: z.object({ count: z.int(), bytes: z.int() }),
  fields: z.record(
    z.string(),
    field.extend({ items: field.optional(), default: z.unknown().optional() }),
  )
    .openapi({ description: "What each field of a request takes" }),
  defaults: z.record(z.string(), z.unknown()).openapi({
    description: "Of the fields that have one",
  }),
  limits: z.object({
    size_multiple: z.int(),
    max_prompt_length: z.int(),
    max_body_bytes: z.int(),
    max_concurrency: z.int(),
    max_queue: z.int(),
  }).catchall(z.number()).openapi({ description: "And `max_<field>` of each number" }),
}).openapi("Status");

export const statusRoute: Route = (app, context) => {
  const { config, engine, guard, health, images, jobs, limits, model } = context;
  const started = performance.now();
  const fields = fieldFacts(context);
  const defaults = Object.fromEntries(
    Object.entries(fields).flatMap(([name, { default: value }]) =>
      value === undefined ? [] : [[name, value]]
    ),
  );
  const largest = Object.fromEntries(
    rows.filter(({ field: { kind } }) => kind === "whole" || kind === "number")
      .map(({ json }) => [`max_${json.replace(/^max_/, "")}`, fields[json]!.maximum]),
  );
  const route = createRoute({
    method: "get",
    path: "/api/status",
    summary: "What the server is doing",
    security: [{}, { key: [] }],
    middleware: [guard.key],
    responses: {
      200: {
        description: "Now",
        content: { "application/json": { schema: statusSchema } },
      },
    },
  });
  app.openapi(route, (c) => {
    const { memory, adapter, promptCache, backends, weightType, kernels, tuning } = engine.status();
    const { weights, arena, requests, cache, budget } = memory;
    return c.json({
      current_model: model.name,
      type_models: "t2im" as const,
      pipeline: model.type,
      ...(model.variant && { variant: model.variant }),
      ...(model.recommended && { recommended: toJson(model.recommended) }),
      ...(backends && { backends: { ...backends } }),
      ...(weightType && { weight_type: weightType }),
      ...(kernels && { kernels }),
      state: health().state,
      uptime: (performance.now() - started) / 1000,
      memory: { weights, arena, requests, cache, budget },
      prompt_cache: { hits: promptCache.hits, misses: promptCache.misses },
      requests: { ...jobs.counts() },
      adapter: {
        vendor: adapter.vendor,
        architecture: adapter.architecture,
        description: adapter.description,
        features: [...adapter.features],
        ...(adapter.vectorBits !== undefined && { vector_bits: adapter.vectorBits }),
      },
      ...(tuning && { tuning: describeTuning(tuning) }),
      images: { ...images.usage() },
      fields,
      defaults,
      limits: {
        ...largest,
        size_multiple: model.sizeMultiple,
        max_prompt_length: limits.maxPromptLength,
        max_body_bytes: config.maxBodyBytes,
        max_concurrency: config.maxConcurrency,
        max_queue: config.maxQueue,
      },
    }, 200);
  });
};

function describeTuning({ seconds, kernels, batches, problem }: TuningReport) {
  return {
    seconds,
    kernels: kernels.map(({ key, choice, source }) => ({ shape: key, kernel: choice, source })),
    batches: batches.map(({ tokens, images, source }) => ({
      tokens,
      max_batch: images,
      source,
    })),
    ...(problem !== undefined && { problem }),
  };
}
