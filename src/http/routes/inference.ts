/** `POST /api/diffusers/inference`: JSON for JSON, or server-sent events on request. */

import { createRoute } from "@hono/zod-openapi";
import { accepts } from "hono/accepts";
import type { ProgressEvent } from "../../engine/types.ts";
import type { AppContext, Route } from "../context.ts";
import { describeResult, storeImages, streamError, submitJob, toBase64 } from "../generate.ts";
import {
  errorSchema,
  inferenceResponseSchema,
  inferenceSchema,
  toGenerateRequest,
} from "../schemas.ts";
import { type EventSink, eventStream } from "../sse.ts";
import { checkPrompt } from "../validation.ts";

export const inferenceRoute: Route = (app, context) => {
  const { guard, limits, model } = context;
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
        content: { "application/json": { schema: inferenceSchema(limits, model) } },
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
    checkPrompt(body);
    const request = toGenerateRequest(body);
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
    // Admission first, while an error can still have a status of its own.
    const early: ProgressEvent[] = [];
    let listener: (event: ProgressEvent) => void = (event) => early.push(event);
    const job = submitJob(c, context, request, {
      id,
      previewEvery: body.preview_every ?? 0,
      onEvent: (event) => listener(event),
    });
    return eventStream(c, () => context.jobs.cancel(job.id), async (sink) => {
      const forward = createForwarder(context, job.id, sink);
      early.forEach(forward.event);
      listener = forward.event;
      try {
        const result = await job.result;
        const response = await storeImages(c, context, result);
        await forward.settled();
        sink.send("completed", { response, ...describeResult(context, job, result) });
      } catch (error) {
        await forward.settled();
        sink.send("error", { job: job.id, ...streamError(context, error) });
      }
    });
  });
};

/** Turns the engine's events into the stream's; previews are compressed on the way, in order. */
function createForwarder({ encodePng }: AppContext, job: string, sink: EventSink) {
  let tail: Promise<void> = Promise.resolve();
  const dataUrl = async (preview: Parameters<typeof encodePng>[0]) =>
    `data:image/png;base64,${toBase64(await encodePng(preview))}`;
  const event = (event: ProgressEvent) => {
    if (event.type === "queued") {
      sink.send("queued", { job, position: event.position });
      return;
    }
    const { step, steps, timestep, sigma, previews = [] } = event;
    tail = tail.then(async () => {
      let images: string[] = [];
      try {
        images = await Promise.all(previews.map(dataUrl));
      } catch {
        // A preview that cannot be made is not worth the request; the step is reported all the same.
      }
      sink.send("progress", {
        job,
        step,
        steps,
        timestep,
        sigma,
        ...(images.length > 0 && { preview: images[0] }),
        ...(images.length > 1 && { previews: images }),
      }, true);
    });
  };
  return { event, settled: () => tail };
}
