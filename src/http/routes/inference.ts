/** `POST /api/diffusers/inference`: JSON for JSON, or server-sent events on request. */

import { createRoute } from "@hono/zod-openapi";
import { accepts } from "hono/accepts";
import type { RgbImage } from "../../image/rgb_image.ts";
import { fromJson } from "../../requests/json.ts";
import { completeRequest } from "../../requests/request.ts";
import type { Route } from "../context.ts";
import {
  describeResult,
  storeImages,
  streamError,
  streamJob,
  submitJob,
  toBase64,
} from "../generate.ts";
import type { JobEventOf } from "../job_events.ts";
import { errorSchema, inferenceResponseSchema, inferenceSchema } from "../schemas.ts";
import { checkPrompt } from "../validation.ts";

export const inferenceRoute: Route = (app, context) => {
  const { guard } = context;
  const route = createRoute({
    method: "post",
    path: "/api/diffusers/inference",
    summary: "Generate images",
    description: "With `stream: true`, or `Accept: text/event-stream`, the answer is a stream of " +
      "the events `queued {job, position}`, `progress {job, step, steps, preview?}`, `completed` " +
      "(the JSON answer) and `error`.",
    security: [{}, { key: [] }],
    middleware: [guard.key, guard.body],
    request: {
      body: {
        required: true,
        content: { "application/json": { schema: inferenceSchema(context) } },
      },
    },
    responses: {
      200: {
        description: "The images, or the events",
        content: {
          "application/json": { schema: inferenceResponseSchema },
          "text/event-stream": { schema: { type: "string" } },
        },
      },
      default: {
        description: "400, 401, 408, 413, 415, 422, 429, 499, 500, 503",
        content: { "application/json": { schema: errorSchema } },
      },
    },
  });

  app.openapi(route, async (c) => {
    const body = c.req.valid("json");
    // Any `model` is taken, as in the Python example; the answer names the one that drew.
    const request = completeRequest(fromJson(body), context);
    checkPrompt(request);
    const wanted = body.stream ?? accepts(c, {
          header: "Accept",
          supports: ["application/json", "text/event-stream"],
          default: "application/json",
        }) === "text/event-stream";
    const id = body.job ?? undefined;
    if (!wanted) {
      const job = submitJob(c, context, request, { id });
      const result = await job.result;
      const response = await storeImages(c, context, result);
      return c.json({ response, ...describeResult(context, job, result) }, 200);
    }
    const options = { id, previewEvery: body.preview_every ?? 0 };
    return streamJob(c, context, request, options, async function* (event, { id: job }) {
      if (event.type === "queued") yield ["queued", { job, position: event.position }];
      if (event.type === "progress") yield ["progress", { job, ...await describeStep(event) }];
      if (event.type === "completed") {
        const response = await storeImages(c, context, event.result);
        yield ["completed", { response, ...describeResult(context, { id: job }, event.result) }];
      }
      if (event.type === "failed") yield ["error", { job, ...streamError(context, event.error) }];
    });
  });

  async function describeStep({ previews = [], type: _, ...step }: JobEventOf<"progress">) {
    // A preview that cannot be made is not worth the request; the step is reported all the same.
    const images = await Promise.all(previews.map(dataUrl)).catch(() => []);
    return {
      ...step,
      ...(images.length > 0 && { preview: images[0] }),
      ...(images.length > 1 && { previews: images }),
    };
  }

  async function dataUrl(image: RgbImage): Promise<string> {
    return `data:image/png;base64,${toBase64(await context.encodePng(image))}`;
  }
};
