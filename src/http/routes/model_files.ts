/**
 * `GET /model/index.json` and `GET /model/{path}`: the files of the model that the page may load
 * into the visitor's browser, read-only, in byte ranges.
 */

import { join } from "node:path";
import { directorySource } from "../../weights/deno_source.ts";
import { FileNotFoundError } from "../../weights/source.ts";
import type { AppContext, Route } from "../context.ts";
import { contentType, notFound, serveFile } from "../files.ts";

/** Answers of both: the browser keeps its copy and asks whether it is still good. */
const REVALIDATE = "no-cache";

/** Every file below `folder` with its size, by its path relative to it. */
async function listFiles(folder: string): Promise<Map<string, number>> {
  const source = directorySource(folder);
  const files = new Map<string, number>();
  for (const path of await source.list()) files.set(path, await source.size(path));
  return files;
}

export const modelFilesRoute: Route = (app, { config, guard }: AppContext) => {
  const folder = config.browserModel;
  if (folder === undefined) return;
  // The listing is what may be served: a path that is not in it does not exist.
  let listing: Promise<Map<string, number>> | undefined;
  const list = async () => {
    try {
      return await (listing ??= listFiles(folder));
    } catch (error) {
      listing = undefined;
      if (error instanceof FileNotFoundError) throw notFound("There is no model for the page");
      throw error;
    }
  };

  app.get("/model/index.json", guard.key, async (c) => {
    const files = await list();
    c.header("Cache-Control", REVALIDATE);
    return c.json({
      name: folder.replace(/\/+$/, "").split("/").at(-1),
      files: [...files].map(([path, size]) => ({ path, size })),
    });
  });
  app.get("/model/:path{.+}", guard.key, async (c) => {
    const path = c.req.param("path");
    if (!(await list()).has(path)) throw notFound("The model has no such file");
    return await serveFile(c, join(folder, path), {
      contentType: contentType(path),
      cacheControl: REVALIDATE,
    });
  });
};
