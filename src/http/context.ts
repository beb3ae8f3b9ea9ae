/** What every route gets: the services of one running server. */

import type { Env, MiddlewareHandler } from "hono";
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Engine } from "../engine/types.ts";
import type { RequestRules } from "../requests/model_info.ts";
import type { ServerConfig } from "./config.ts";
import type { ImageStore } from "./images.ts";
import type { Jobs } from "./jobs.ts";
import type { Logger } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { EncodePng } from "./png_encoder.ts";

/** Whether requests would be answered now, and if not, why. */
export interface Health {
  readonly ready: boolean;
  /** "ready", "reopening", "failed", "shutting down" */
  readonly state: string;
}

/** The rules name the model as it is published. */
export interface AppContext extends RequestRules {
  readonly config: ServerConfig;
  readonly engine: Engine;
  readonly jobs: Jobs;
  readonly images: ImageStore;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly encodePng: EncodePng;
  readonly health: () => Health;
  /** Middleware of routes that generate: the key, then the body. */
  readonly guard: { readonly key: MiddlewareHandler; readonly body: MiddlewareHandler };
  /** Errors that a job's log line has told already. */
  readonly reported: WeakSet<object>;
}

/** Values that middleware leaves for each other. */
export interface AppEnv extends Env {
  Variables: { job?: string };
}

export type App = OpenAPIHono<AppEnv>;
/** One file under `routes/` exports one of these. */
export type Route = (app: App, context: AppContext) => void;
