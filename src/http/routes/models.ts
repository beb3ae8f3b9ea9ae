/** `GET /v1/models` and `GET /v1/models/{model}`: the one loaded model, in OpenAI's shape. */

import { createRoute, z } from "@hono/zod-openapi";
import type { Route } from "../context.ts";
import { HttpError } from "../errors.ts";
import { errorSchema } from "../schemas.ts";

const modelSchema = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: z.int(),
  owned_by: z.string(),
}).openapi("Model");

export const modelsRoute: Route = (app, { guard, model }) => {
  const entry = {
    id: model.name,
    object: "model" as const,
    created: Math.floor(Date.now() / 1000),
    owned_by: "local",
  };
  const list = createRoute({
    method: "get",
    path: "/v1/models",
    summary: "The loaded model (OpenAI's shape)",
    security: [{}, { key: [] }],
    middleware: [guard.key],
    responses: {
      200: {
        description: "A list of one",
        content: {
          "application/json": {
            schema: z.object({ object: z.literal("list"), data: z.array(modelSchema) }),
          },
        },
      },
    },
  });
  app.openapi(list, (c) => c.json({ object: "list" as const, data: [entry] }, 200));

  const one = createRoute({
    method: "get",
    path: "/v1/models/{model}",
    summary: "One model by name",
    security: [{}, { key: [] }],
    middleware: [guard.key],
    request: { params: z.object({ model: z.string() }) },
    responses: {
      200: { description: "It", content: { "application/json": { schema: modelSchema } } },
      404: {
        description: "Not loaded",
        content: { "application/json": { schema: errorSchema } },
      },
    },
  });
  app.openapi(one, (c) => {
    if (c.req.valid("param").model !== model.name) {
      throw new HttpError(
        404,
        "model_not_found_error",
        `model: this server answers with "${model.name}"`,
        {},
        "model",
      );
    }
    return c.json(entry, 200);
  });
};
