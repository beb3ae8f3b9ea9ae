/** The HTTP application: every route, and what all of them share. Needs no socket to be tested. */

import { OpenAPIHono } from "@hono/zod-openapi";
import type { MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { methodNotAllowed } from "hono/method-not-allowed";
import { routePath } from "hono/route";
import { secureHeaders } from "hono/secure-headers";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { Engine } from "../engine/types.ts";
import { requireKey } from "./auth.ts";
import { jsonBody } from "./body.ts";
import type { ServerConfig } from "./config.ts";
import type { App, AppContext, AppEnv, Health, Route } from "./context.ts";
import { type ErrorBody, toErrorResponse } from "./errors.ts";
import { reportUnexpected } from "./generate.ts";
import type { ImageStore } from "./images.ts";
import { type JobObserver, Jobs } from "./jobs.ts";
import type { Logger } from "./log.ts";
import { rows } from "../requests/fields.ts";
import { toJson } from "../requests/json.ts";
import { Metrics } from "./metrics.ts";
import type { EncodePng } from "./png_encoder.ts";
import { generationsRoute } from "./routes/generations.ts";
import { healthRoute } from "./routes/health.ts";
import { imagesRoute } from "./routes/images.ts";
import { inferenceRoute } from "./routes/inference.ts";
import { jobsRoute } from "./routes/jobs.ts";
import { metricsRoute } from "./routes/metrics.ts";
import { modelFilesRoute } from "./routes/model_files.ts";
import { modelsRoute } from "./routes/models.ts";
import { openApiRoute } from "./routes/openapi.ts";
import { rootRoute, staticFile } from "./routes/root.ts";
import { statusRoute } from "./routes/status.ts";
import { rejectInvalid } from "./validation.ts";

/** Prompts, by their JSON names. */
const textFields = rows.filter(({ field }) => field.kind === "text").map(({ json }) => json);

/** Characters of a path in the log; nothing that is served has a longer one. */
const maxLoggedPath = 300;

const routes: readonly Route[] = [
  rootRoute,
  inferenceRoute,
  jobsRoute,
  imagesRoute,
  statusRoute,
  generationsRoute,
  modelsRoute,
  healthRoute,
  metricsRoute,
  modelFilesRoute,
  openApiRoute,
];

export interface AppOptions {
  readonly engine: Engine;
  readonly config: ServerConfig;
  readonly images: ImageStore;
  readonly log: Logger;
  readonly encodePng: EncodePng;
  /** Whether the engine would answer; always if absent. */
  readonly engineHealth?: () => Health;
}

export interface ServerApp {
  readonly app: App;
  readonly jobs: Jobs;
  readonly metrics: Metrics;
}

/** Puts the application together. Starts nothing: no timer, no socket. */
export function createApp(options: AppOptions): ServerApp {
  const { engine, config, images, log, encodePng } = options;
  const engineHealth = options.engineHealth ?? (() => ({ ready: true, state: "ready" }));
  const { model, limits } = engine.status();
  const metrics = new Metrics();
  const reported = new WeakSet<object>();
  const jobs = new Jobs(engine, config, observeJobs(config, log, metrics, reported));
  metrics.observe({ engine, jobs, images });
  const context: AppContext = {
    config,
    engine,
    jobs,
    images,
    metrics,
    log,
    encodePng,
    health: () => jobs.draining ? { ready: false, state: "shutting down" } : engineHealth(),
    model: { ...model, name: config.modelName ?? model.name },
    limits,
    guard: {
      key: requireKey(config.apiKey),
      body: jsonBody({ maxBytes: config.maxBodyBytes, timeoutSeconds: config.bodyTimeout }),
    },
    reported,
  };

  const app: App = new OpenAPIHono<AppEnv>({ defaultHook: rejectInvalid });
  app.use(logRequests(log, metrics));
  app.use(cors({
    // With credentials a browser takes no "*", so the origin that asks is named back to it.
    origin: (origin) => {
      const allowed = config.corsOrigin.includes("*") || config.corsOrigin.includes(origin);
      return allowed ? origin || "*" : null;
    },
    credentials: true,
    allowMethods: ["GET", "HEAD", "POST", "DELETE", "OPTIONS"],
    exposeHeaders: ["X-Job-Id", "Retry-After", "ETag", "Content-Range", "Accept-Ranges"],
    maxAge: 600,
  }));
  app.use(secureHeaders({
    // Images may be shown on other sites, and HTTPS is the proxy's affair.
    crossOriginResourcePolicy: false,
    strictTransportSecurity: false,
    xXssProtection: false,
  }));
  app.use(methodNotAllowed({
    app,
    onMethodNotAllowed: (c, methods) => {
      const allow = methods.join(", ");
      const message = `${c.req.method} is not allowed here; allowed: ${allow}`;
      return c.json(
        { error: { type: "method_not_allowed_error", message } } satisfies ErrorBody,
        405,
        { Allow: allow },
      );
    },
  }));
  for (const route of routes) route(app, context);
  app.notFound(async (c) => {
    try {
      return await staticFile(c, context);
    } catch (error) {
      // Not thrown on: the method check looks at plain 404 answers only.
      const { status, body } = toErrorResponse(error);
      return c.json(body, status as ContentfulStatusCode);
    }
  });
  app.onError((error, c) => {
    const { status, body, headers, unexpected } = toErrorResponse(error);
    reportUnexpected(context, error, unexpected);
    // OpenAI's clients know 400 for a field that is wrong, and no 422.
    const shown = status === 422 && c.req.path.startsWith("/v1/") ? 400 : status;
    return c.json(body, shown as ContentfulStatusCode, { ...headers });
  });
  return { app, jobs, metrics };
}

/** One line for each HTTP request, and its duration. */
function logRequests(log: Logger, metrics: Metrics): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    const started = performance.now();
    await next();
    const seconds = (performance.now() - started) / 1000;
    const { method, path } = c.req;
    const { status } = c.res;
    const route = routePath(c, -1);
    metrics.http(method, route, status, seconds);
    const job = c.get("job");
    log({
      level: status >= 500 ? "error" : "info",
      event: "request",
      method,
      path: path.slice(0, maxLoggedPath),
      status,
      seconds: Number(seconds.toFixed(6)),
      ...(job !== undefined && { job }),
    });
  };
}

/** One line for each job that ended; prompts only where the operator wants them in the log. */
function observeJobs(
  config: ServerConfig,
  log: Logger,
  metrics: Metrics,
  reported: WeakSet<object>,
): JobObserver {
  return ({ id, outcome, request, seconds, result, error }) => {
    metrics.ended(outcome, result?.images.length ?? 0, result?.timings);
    const refused = error === undefined ? undefined : toErrorResponse(error);
    if (error instanceof Error) reported.add(error);
    log({
      level: refused?.unexpected ? "error" : "info",
      event: "job",
      job: id,
      outcome,
      seconds: Number(seconds.toFixed(6)),
      ...(config.logPrompts && { prompt: request.prompt, negative_prompt: request.negativePrompt }),
      ...(result && {
        parameters: Object.fromEntries(
          Object.entries(toJson(request)).filter(([name]) => !textFields.includes(name)),
        ),
        seeds: result.images.map((image) => image.seed),
        timings: result.timings,
      }),
      ...(error instanceof Error && { error: error.message, errorName: error.name }),
      ...(refused?.unexpected && error instanceof Error && { stack: error.stack }),
    });
  };
}
