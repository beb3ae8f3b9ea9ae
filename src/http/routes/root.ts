/** `GET /`: the web page to a browser, a word of welcome in JSON to everybody else. */

import type { Context } from "hono";
import { accepts } from "hono/accepts";
import { join } from "node:path";
import type { AppContext, Route } from "../context.ts";
import { HttpError } from "../errors.ts";
import { contentType, notFound, serveFile } from "../files.ts";

/** Nothing from elsewhere, no inline code; blobs are the page's own images and workers. */
const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "font-src 'self'",
  "connect-src 'self'",
  "worker-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** Plain names only: no percent signs, no hidden files, hence no way up. */
const staticPath = /^(?:\/[\w-][\w.-]*)+$/;

export const rootRoute: Route = (app, { config }) => {
  app.get("/", async (c) => {
    c.header("Vary", "Accept");
    const wanted = accepts(c, {
      header: "Accept",
      supports: ["application/json", "text/html"],
      default: "application/json",
    });
    if (wanted !== "text/html") {
      return c.json({ message: "Welcome to the Diffusers Server" });
    }
    try {
      return await page(c, join(config.webDir, "index.html"));
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      // The page is not built: the description of the API is the next best thing for a reader.
      return c.redirect("/docs", 302);
    }
  });
};

/**
 * The rest of the page's files, for paths that no route knows.
 *
 * @throws {HttpError} 404
 */
export async function staticFile(c: Context, { config }: AppContext): Promise<Response> {
  const { path, method } = c.req;
  if (!staticPath.test(path) || (method !== "GET" && method !== "HEAD")) throw notFound();
  return await page(c, join(config.webDir, path));
}

function page(c: Context, path: string): Promise<Response> {
  return serveFile(c, path, {
    contentType: contentType(path),
    cacheControl: "no-cache",
    "Content-Security-Policy": pagePolicy,
    Vary: "Accept",
  });
}
