/** `GET /metrics`: Prometheus text. */

import { createRoute, z } from "@hono/zod-openapi";
import type { Route } from "../context.ts";

export const metricsRoute: Route = (app, { guard, metrics }) => {
  const route = createRoute({
    method: "get",
    path: "/metrics",
    summary: "Metrics for Prometheus",
    security: [{}, { key: [] }],
    middleware: [guard.key],
    responses: {
      200: { description: "Text", content: { "text/plain": { schema: z.string() } } },
    },
  });
  app.openapi(route, async (c) => {
    const text = await metrics.text();
    return c.text(text, 200, { "Content-Type": metrics.contentType });
  });
};
