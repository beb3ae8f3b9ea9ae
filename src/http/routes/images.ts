/** `GET /images/{filename}`: a finished image. */

import { createRoute, z } from "@hono/zod-openapi";
import type { Route } from "../context.ts";
import { notFound, serveFile } from "../files.ts";
import { errorSchema } from "../schemas.ts";

/** A year, where images are kept for ever. */
const longestCacheSeconds = 31_536_000;

export const imagesRoute: Route = (app, { config, images }) => {
  const maxAge = config.imageTtl === 0 ? longestCacheSeconds : config.imageTtl;
  const route = createRoute({
    method: "get",
    path: "/images/{filename}",
    summary: "A finished image",
    request: { params: z.object({ filename: z.string() }) },
    responses: {
      200: {
        description: "The PNG; its text chunk `parameters` says how it was made",
        content: { "image/png": { schema: { type: "string", format: "binary" } } },
      },
      304: { description: "The client has it already" },
      404: {
        description: "Never there, or too old",
        content: { "application/json": { schema: errorSchema } },
      },
    },
  });
  app.openapi(route, async (c) => {
    // Looked up in the store's own list: no text from outside becomes part of a path.
    const { filename } = c.req.valid("param");
    const path = images.find(filename);
    if (path === undefined) throw notFound("Image not found");
    return await serveFile(c, path, {
      contentType: "image/png",
      cacheControl: `private, max-age=${maxAge}, immutable`,
      etag: `"${filename.slice(3, -4)}"`,
    });
  });
};
