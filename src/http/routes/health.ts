/** `GET /healthz` (the process answers) and `GET /readyz` (it would take a request now). */

import { createRoute, z } from "@hono/zod-openapi";
import type { Route } from "../context.ts";

const stateSchema = z.object({ status: z.string() });
const content = { "application/json": { schema: stateSchema } };

export const healthRoute: Route = (app, { health }) => {
  const healthz = createRoute({
    method: "get",
    path: "/healthz",
    summary: "The process answers",
    responses: { 200: { description: "Always", content } },
  });
  app.openapi(healthz, (c) => c.json({ status: "ok" }, 200));

  const readyz = createRoute({
    method: "get",
    path: "/readyz",
    summary: "The model is loaded and requests are taken",
    responses: {
      200: { description: "Ready", content },
      503: { description: "Being reopened, failed, or shutting down", content },
    },
  });
  app.openapi(readyz, (c) => {
    const { ready, state } = health();
    return ready ? c.json({ status: state }, 200) : c.json({ status: state }, 503);
  });
};
