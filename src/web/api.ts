import { EventSourceParserStream } from "eventsource-parser/stream";
import type { MemoryReport, RequestCounts } from "../engine/types.ts";
import type { FieldFacts } from "../requests/fields.ts";
import { RunError } from "./errors.ts";

/** What `GET /api/status` tells, as far as the page uses it. Bytes are numbers. */
export interface ServerStatus {
  readonly current_model: string;
  /** "ready", or why requests would not be answered now. */
  readonly state: string;
  readonly memory: MemoryReport;
  readonly requests: RequestCounts;
  readonly adapter: {
    readonly vendor: string;
    readonly architecture: string;
    readonly description: string;
  };
  readonly fields: Readonly<Record<string, FieldFacts>>;
}

/** One server-sent event of the inference route. */
export interface ServerEvent {
  readonly event: string;
  readonly data: Record<string, unknown>;
}

/** How long a question to the server may take before it counts as unreachable, in milliseconds. */
const statusTimeoutMs = 8000;

/**
 * The server's HTTP interface as the page uses it. All addresses are relative to `base`, so the
 * page works behind a proxy that serves it under a path. Failures become `RunError`s.
 */
export class ServerApi {
  /** Sent as a bearer token when set. */
  apiKey: string | undefined;

  constructor(readonly base: string) {}

  async status(): Promise<ServerStatus> {
    const signal = AbortSignal.timeout(statusTimeoutMs);
    const response = await this.#fetch("api/status", { signal, cache: "no-store" });
    return await response.json() as ServerStatus;
  }

  /**
   * Asks for images and yields the events of the answer, to its end.
   * @throws {RunError} of kind `lost` when the connection breaks, or by the status of a refusal
   */
  async *infer(body: Record<string, unknown>, signal: AbortSignal): AsyncGenerator<ServerEvent> {
    const response = await this.#fetch("api/diffusers/inference", {
      method: "POST",
      signal,
      headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
      body: JSON.stringify({ ...body, stream: true }),
    });
    if (response.body === null) throw new RunError("failed", "The server sent an empty answer");
    const events = response.body
      .pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>)
      .pipeThrough(new EventSourceParserStream());
    const reader = events.getReader();
    try {
      while (true) {
        const { value, done } = await reader.read();
        if (done) return;
        yield { event: value.event ?? "message", data: JSON.parse(value.data) };
      }
    } catch (error) {
      throw asRunError(error, signal);
    } finally {
      reader.cancel().catch(() => {/* the stream has already failed or ended */});
    }
  }

  /** Stops a request at its next step; one that is already over is as good as stopped. */
  async cancel(job: string): Promise<void> {
    await this.#fetch(`api/jobs/${encodeURIComponent(job)}`, { method: "DELETE", keepalive: true });
  }

  /** The PNG behind a URL of an answer, read through the page's own origin. */
  async image(url: string, signal: AbortSignal): Promise<Blob> {
    const name = new URL(url, this.base).pathname.split("/").at(-1) ?? "";
    return await (await this.#fetch(`images/${name}`, { signal })).blob();
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.apiKey !== undefined) headers.set("Authorization", `Bearer ${this.apiKey}`);
    let response: Response;
    try {
      response = await fetch(new URL(path, this.base), { ...init, headers });
    } catch (error) {
      throw asRunError(error, init.signal ?? undefined);
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

/** An aborted request keeps its reason; any other failure of the network means the server is gone. */
function asRunError(error: unknown, signal: AbortSignal | undefined): unknown {
  if (error instanceof RunError) return error;
  const timedOut = signal?.reason instanceof DOMException && signal.reason.name === "TimeoutError";
  if (signal?.aborted && !timedOut) return signal.reason;
  return new RunError("lost", "The connection to the server broke");
}

/** The server's own words for a refusal, sorted by its status. */
async function refusal(response: Response): Promise<RunError> {
  const body = await response.json().catch(() => ({})) as { error?: Record<string, unknown> };
  const message = typeof body.error?.message === "string"
    ? body.error.message
    : `The server answered ${response.status} ${response.statusText}.`;
  const param = typeof body.error?.param === "string" ? body.error.param : undefined;
  const seconds = Number(response.headers.get("Retry-After"));
  const retryAfter = seconds > 0 ? seconds : undefined;
  return new RunError(kindOfStatus(response.status), message, { param, retryAfter });
}

function kindOfStatus(status: number): RunError["kind"] {
  if (status === 401 || status === 403) return "unauthorized";
  if (status === 429 || status === 503) return "busy";
  return status >= 400 && status < 500 ? "rejected" : "failed";
}

/** Kinds by the start of an error's `type`; all others are failures. */
const kindOfType: Readonly<Record<string, RunError["kind"]>> = {
  invalid_request: "rejected",
  busy: "busy",
  unavailable: "lost",
  device_lost: "lost",
  engine: "lost",
};

/** An `error` event's content. The stream has no status, so the type decides. */
export function eventError(data: Record<string, unknown>): RunError {
  const error = (data.error ?? {}) as Record<string, unknown>;
  const message = typeof error.message === "string" ? error.message : "The server gave no reason.";
  const type = String(error.type ?? "");
  const param = typeof error.param === "string" ? error.param : undefined;
  const kind = Object.entries(kindOfType).find(([start]) => type.startsWith(start))?.[1];
  return new RunError(kind ?? "failed", message, { param });
}
