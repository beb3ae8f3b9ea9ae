/** `POST /v1/images/generations`: OpenAI's shape over the same jobs. */

import { createRoute } from "@hono/zod-openapi";
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
  toPng,
} from "../generate.ts";
import { errorSchema, generationsResponseSchema, generationsSchema } from "../schemas.ts";
import { checkModel, checkPrompt } from "../validation.ts";

export const generationsRoute: Route = (app, context) => {
  const { guard, model } = context;
  const route = createRoute({
    method: "post",
    path: "/v1/images/generations",
    summary: "Generate images (OpenAI's shape)",
    description: "With `stream: true` the answer is a stream of the events " +
      "`image_generation.partial_image` and `image_generation.completed`, or `error`.",
    security: [{}, { key: [] }],
    middleware: [guard.key, guard.body],
    request: {
      body: {
        required: true,
        content: { "application/json": { schema: generationsSchema(context) } },
      },
    },
    responses: {
      200: {
        description: "The images, or the events",
        content: {
          "application/json": { schema: generationsResponseSchema },
          "text/event-stream": { schema: { type: "string" } },
        },
      },
      default: {
        description: "400, 401, 404, 408, 413, 415, 429, 499, 500, 503",
        content: { "application/json": { schema: errorSchema } },
      },
    },
  });

  app.openapi(route, async (c) => {
    const body = c.req.valid("json");
    checkModel(body.model, model.name);
    const [width, height] = body.size?.split("x").map(Number) ?? [];
    const own = { ...body, num_images_per_prompt: body.n, ...(height && { width, height }) };
    const request = completeRequest(fromJson(own), context);
    checkPrompt(request);
    const now = () => Math.floor(Date.now() / 1000);
    const look = { background: "opaque", output_format: "png", quality: "auto" } as const;

    if (!body.stream) {
      const job = submitJob(c, context, request);
      const result = await job.result;
      const { seeds, ...rest } = describeResult(context, job, result);
      const asUrl = (body.response_format ?? "url") === "url";
      const contents = asUrl
        ? (await storeImages(c, context, result)).map((url) => ({ url }))
        : await Promise.all(
          result.images.map(async (image) => ({
            b64_json: toBase64(await toPng(context, result, image)),
          })),
        );
      const data = contents.map((content, k) => ({ ...content, seed: result.images[k]!.seed }));
      const size = sizeText(result.parameters);
      return c.json({ created: now(), ...look, size, data, seeds, ...rest }, 200);
    }

    const partialImages = body.partial_images ?? 0;
    const previewEvery = partialImages === 0
      ? 0
      : Math.max(1, Math.floor(request.numInferenceSteps / (partialImages + 1)));
    const size = sizeText(request);
    const common = () => ({ created_at: now(), size, ...look });
    let index = 0;
    return streamJob(c, context, request, { previewEvery }, async function* (event, job) {
      // The last step's preview would only announce the image itself.
      if (event.type === "progress" && event.previews && event.step < event.steps) {
        const partialIndex = index++;
        if (partialIndex >= partialImages) return;
        for (const [image, preview] of event.previews.entries()) {
          const type = "image_generation.partial_image";
          const b64_json = toBase64(await context.encodePng(preview));
          const place = { partial_image_index: partialIndex, image_index: image };
          yield [type, { type, b64_json, ...common(), ...place }];
        }
      }
      if (event.type === "completed") {
        const { result } = event;
        const { seeds: _, ...rest } = describeResult(context, job, result);
        for (const [index, image] of result.images.entries()) {
          const type = "image_generation.completed";
          const b64_json = toBase64(await toPng(context, result, image));
          const which = { image_index: index, seed: image.seed };
          yield [type, { type, b64_json, ...common(), ...which, ...rest }];
        }
      }
      if (event.type === "failed") {
        yield ["error", { type: "error", job: job.id, ...streamError(context, event.error) }];
      }
    });
  });
};

function sizeText({ width, height }: { width: number; height: number }): string {
  return `${width}x${height}`;
}
