/**
 * `GET /model/index.json` and `GET /model/{path}`: the files of the model that the page may load
 * into the visitor's browser, read-only, in byte ranges.
 */

import { join } from "node:path";
import { directorySource } from "../../weights/deno_source.ts";
import { FileNotFoundError } from "../../weights/errors.ts";
import type { AppContext, Route } from "../context.ts";
import { contentType, entityTag, notFound, serveFile } from "../files.ts";

/** Answers of both: the browser keeps its copy and asks whether it is still good. */
const revalidate = "no-cache";

/** By its tag a client knows whether its copy of a file is still good. */
interface ListedFile {
  readonly size: number;
  readonly etag: string;
}

/** Every file below `folder`, by its path relative to it. */
async function listFiles(folder: string): Promise<Map<string, ListedFile>> {
  const source = directorySource(folder);
  const files = new Map<string, ListedFile>();
  for (const path of await source.list()) {
    const info = await Deno.stat(join(folder, path));
    files.set(path, { size: info.size, etag: entityTag(info) });
  }
  return files;
}

export const modelFilesRoute: Route = (app, { config, guard }: AppContext) => {
  const folder = config.browserModel;
  if (folder === undefined) return;
  // The listing is what may be served: a path that is not in it does not exist.
  let listing: Promise<Map<string, ListedFile>> | undefined;
  const list = async () => {
    try {
      return await (listing ??= listFiles(folder));
    } catch (error) {
      listing = undefined;
      // A file in the folder's place, too.
      if (error instanceof FileNotFoundError || error instanceof Deno.errors.NotADirectory) {
        throw notFound("There is no model for the page");
      }
      throw error;
    }
  };

  app.get("/model/index.json", guard.key, async (c) => {
    const files = await list();
    c.header("Cache-Control", revalidate);
    return c.json({
      name: folder.replace(/\/+$/, "").split("/").at(-1),
      files: [...files].map(([path, about]) => ({ path, ...about })),
    });
  });
  app.get("/model/:path{.+}", guard.key, async (c) => {
    const path = c.req.param("path");
    if (!(await list()).has(path)) throw notFound("The model has no such file");
    return await serveFile(c, join(folder, path), {
      contentType: contentType(path),
      cacheControl: revalidate,
    });
  });
};
