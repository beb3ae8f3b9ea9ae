/** `GET /openapi.json`, from the schemas that validate, and `GET /docs`, the same to read. */

import type { App, Route } from "../context.ts";
import { docsPage } from "../docs_page.ts";
import { baseUrl } from "../public_url.ts";

/** The document; its servers are where the client found it. */
function describe(app: App) {
  app.openAPIRegistry.registerComponent("securitySchemes", "key", {
    type: "http",
    scheme: "bearer",
    description: "Only if the server was started with an API key",
  });
  return app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Stable Diffusion 3 / 3.5 on WebGPU",
      version: "1.0.0",
      description: "One model in GPU memory, many requests at once.",
    },
  });
}

export const openApiRoute: Route = (app, { config }) => {
  let document: ReturnType<typeof describe> | undefined;
  const get = () => document ??= describe(app);
  app.get("/openapi.json", (c) => c.json(get()));
  app.get("/docs", async (c) => {
    const { html, policy } = await docsPage(get(), baseUrl(c, config));
    return c.html(html, 200, { "Content-Security-Policy": policy });
  });
};
