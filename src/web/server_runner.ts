import { fromJson, toJson } from "../requests/json.ts";
import type { GenerateRequest, ResolvedRequest } from "../requests/types.ts";
import type { Timings, TruncatedPrompt } from "../engine/types.ts";
import { eventError, type ServerApi } from "./api.ts";
import type { Runner, RunOptions, RunResult } from "./runner.ts";
import { RunError } from "./errors.ts";

/** Runs a request on the server: one streamed answer a request, the images fetched at its end. */
export class ServerRunner implements Runner {
  readonly place = "server";
  readonly #api: ServerApi;

  constructor(api: ServerApi) {
    this.#api = api;
  }

  async run(request: GenerateRequest, options: RunOptions): Promise<RunResult> {
    const { signal, onEvent, previewEvery } = options;
    // Named here, so that it can be cancelled before the server has said a word.
    const job = newJobId();
    const body = { ...toJson(request), job, preview_every: previewEvery };
    const cancel = () => {
      this.#api.cancel(job).catch(() => {/* the stream that broke off cancels it as well */});
    };
    signal.addEventListener("abort", cancel, { once: true });
    try {
      for await (const { event, data } of this.#api.infer(body, signal)) {
        if (event === "queued") {
          onEvent({ type: "queued", position: Number(data.position) });
        } else if (event === "progress") {
          onEvent({
            type: "progress",
            step: Number(data.step),
            steps: Number(data.steps),
            previews: (data.previews ?? [data.preview ?? []].flat()) as string[],
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
    throw new RunError("lost", "The server ended the connection before the images were done");
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
      parameters: fromJson(data.parameters as Record<string, unknown>) as ResolvedRequest,
      timings: data.timings as Timings,
      truncated: (data.truncated ?? []) as TruncatedPrompt[],
      model: String(data.model),
    };
  }
}

/** 128 random bits in hexadecimal; `randomUUID` is for secure origins only. */
function newJobId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
