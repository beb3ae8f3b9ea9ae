import type { GenerateRequest, Timings, TruncatedPrompt } from "../pipeline/types.ts";
import { eventError, type ServerApi } from "./api.ts";
import { RunError, type Runner, type RunOptions, type RunResult } from "./runner.ts";
import { fromWire, toWire } from "./wire.ts";

/** Runs a request on the server: one streamed answer a request, the images fetched at its end. */
export class ServerRunner implements Runner {
  readonly place = "server";
  readonly #api: ServerApi;
  readonly #modelName: () => string;

  /** @param modelName the server's model as last heard of */
  constructor(api: ServerApi, modelName: () => string) {
    this.#api = api;
    this.#modelName = modelName;
  }

  async run(request: GenerateRequest, options: RunOptions): Promise<RunResult> {
    const { signal, onEvent, previewEvery } = options;
    const body = toWire(request);
    if (previewEvery > 0) body.preview_every = previewEvery;
    let job: string | undefined;
    const cancel = () => {
      if (job !== undefined) {
        this.#api.cancel(job).catch(() => {/* the broken stream cancels too */});
      }
    };
    signal.addEventListener("abort", cancel, { once: true });
    try {
      for await (const { event, data } of this.#api.infer(body, signal)) {
        if (typeof data.job === "string") job = data.job;
        if (event === "queued") {
          onEvent({ type: "queued", position: Number(data.position) });
        } else if (event === "progress") {
          onEvent({
            type: "progress",
            step: Number(data.step),
            steps: Number(data.steps),
            previews: [data.preview ?? []].flat().filter((url) => typeof url === "string"),
          });
        } else if (event === "completed") {
          return await this.#collect(data, signal);
        } else if (event === "error") {
          throw eventError(data);
        }
      }
    } finally {
      signal.removeEventListener("abort", cancel);
    }
    throw new RunError("lost", "The server ended the connection before the images were done.");
  }

  async #collect(data: Record<string, unknown>, signal: AbortSignal): Promise<RunResult> {
    const urls = data.response as string[];
    const seeds = data.seeds as number[];
    const images = await Promise.all(urls.map(async (url, index) => ({
      blob: await this.#api.image(url, signal),
      seed: seeds[index] ?? 0,
    })));
    return {
      images,
      parameters: fromWire(data.parameters as Record<string, unknown>),
      timings: data.timings as Timings,
      truncated: (data.truncated ?? []) as TruncatedPrompt[],
      model: this.#modelName(),
    };
  }
}
