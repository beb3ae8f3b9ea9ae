/** From an admitted job to images: what the two generating routes have in common. */

import type { Context } from "hono";
import type { GeneratedImage, GenerateResult } from "../engine/types.ts";
import type { ResolvedRequest } from "../requests/types.ts";
import type { AppContext, AppEnv } from "./context.ts";
import { type ErrorBody, toErrorResponse } from "./errors.ts";
import type { Job, SubmitOptions } from "./jobs.ts";
import type { JobEvent } from "./job_events.ts";
import { eventStream } from "./sse.ts";
import { baseUrl } from "./public_url.ts";
import { imageParameters, toJson } from "../requests/json.ts";

/** What a route may say of a job: it ends with its client in any case. */
type JobOptions = Omit<SubmitOptions, "signal">;

/** Submits a request that ends with its client, and puts the job's name into the answer. */
export function submitJob(
  c: Context<AppEnv>,
  { jobs, metrics }: AppContext,
  request: ResolvedRequest,
  options: JobOptions = {},
): Job {
  let job: Job;
  try {
    job = jobs.submit(request, { ...options, signal: c.req.raw.signal });
  } catch (error) {
    metrics.refused(toErrorResponse(error).status);
    throw error;
  }
  metrics.timeSteps(job.events());
  c.set("job", job.id);
  c.header("X-Job-Id", job.id);
  return job;
}

/**
 * Answers with a job's events in a route's own words. What is refused is refused before the stream
 * begins, with a status of its own.
 *
 * @param word server-sent events, name and data, for one of the job's; what it throws over them is
 * worded as the job's failure
 */
export function streamJob(
  c: Context<AppEnv>,
  context: AppContext,
  request: ResolvedRequest,
  options: JobOptions,
  word: (event: JobEvent, job: Job) => AsyncIterable<readonly [name: string, data: object]>,
): Response {
  const job = submitJob(c, context, request, options);
  const events = job.events();
  return eventStream(c, () => context.jobs.cancel(job.id), async (send) => {
    const tell = async (event: JobEvent) => {
      for await (const [name, data] of word(event, job)) await send(name, data);
    };
    for await (const event of events) {
      try {
        await tell(event);
      } catch (error) {
        context.jobs.cancel(job.id);
        return await tell({ type: "failed", error });
      }
    }
  });
}

/** The parts of an answer that do not depend on the route. */
export function describeResult(
  { model }: AppContext,
  job: Pick<Job, "id">,
  result: GenerateResult,
) {
  return {
    seeds: result.images.map((image) => image.seed),
    parameters: toJson(result.parameters),
    timings: result.timings,
    memory: result.memory,
    truncated: [...result.truncated],
    model: model.name,
    job: job.id,
  };
}

/**
 * An image as a PNG file that says how it was made. The text names this image alone, so that it
 * is the same file whether it came alone or as one of several.
 */
export function toPng(
  { encodePng, model }: AppContext,
  result: GenerateResult,
  image: GeneratedImage,
): Promise<Uint8Array<ArrayBuffer>> {
  const parameters = { ...imageParameters(result.parameters, image.seed), model: model.name };
  return encodePng(image, { parameters: JSON.stringify(parameters) });
}

/** Stores every image and returns their URLs, in order. */
export async function storeImages(
  c: Context,
  context: AppContext,
  result: GenerateResult,
): Promise<string[]> {
  const base = baseUrl(c, context.config);
  return await Promise.all(result.images.map(async (image) => {
    const name = await context.images.save(await toPng(context, result, image));
    return `${base}/images/${name}`;
  }));
}

/** Base64 of a PNG, as `data:` URLs and OpenAI's `b64_json` want it. */
export function toBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/** The `error` event's data for whatever ended a stream. */
export function streamError(context: AppContext, error: unknown): ErrorBody & { status: number } {
  const { status, body, unexpected } = toErrorResponse(error);
  reportUnexpected(context, error, unexpected);
  return { ...body, status };
}

/** Logs what is the server's fault, once. */
export function reportUnexpected(
  { log, reported }: AppContext,
  error: unknown,
  unexpected: boolean,
): void {
  if (!unexpected || (error instanceof Error && reported.has(error))) return;
  const { message, name, stack } = error instanceof Error ? error : new Error(String(error));
  log({ level: "error", event: "error", error: message, errorName: name, stack });
}
