/** `DELETE /api/jobs/{id}`: stops a waiting or running request. */

import { createRoute, z } from "@hono/zod-openapi";
import type { Route } from "../context.ts";
import { HttpError } from "../errors.ts";
import { errorSchema } from "../schemas.ts";

export const jobsRoute: Route = (app, { guard, jobs }) => {
  const errorContent = { "application/json": { schema: errorSchema } };
  const route = createRoute({
    method: "delete",
    path: "/api/jobs/{id}",
    summary: "Cancel a job",
    description: "The job's own answer becomes an error with status 499, within one step. The id " +
      "is in the `queued` event and the `X-Job-Id` header, or the request's own `job` field.",
    security: [{}, { key: [] }],
    middleware: [guard.key],
    request: { params: z.object({ id: z.string() }) },
    responses: {
      200: {
        description: "It will stop",
        content: {
          "application/json": {
            schema: z.object({ job: z.string(), status: z.literal("cancelled") }),
          },
        },
      },
      404: { description: "There is no such job", content: errorContent },
      409: { description: "It has ended already", content: errorContent },
    },
  });
  app.openapi(route, (c) => {
    const { id } = c.req.valid("param");
    const outcome = jobs.cancel(id);
    if (outcome === "finished") {
      throw new HttpError(409, "job_finished_error", "The job has ended already", {}, "id");
    }
    if (outcome === "unknown") {
      throw new HttpError(404, "not_found_error", "There is no such job", {}, "id");
    }
    return c.json({ job: id, status: "cancelled" as const }, 200);
  });
};
