/** A model opened in a Web Worker of the page, from its first byte to an engine that answers. */
import type { Engine } from "../engine/types.ts";
import { connectEngine } from "../engine/worker/client.ts";
import type { LoadingMessage, OpenOptions } from "./engine_messages.ts";

export interface Opening {
  /** Rejects with what the worker threw, or with an `AbortError` after `stop()`. */
  readonly engine: Promise<Engine>;
  stop(): void;
}

/** Starts a worker and opens the model in it; the worker ends with the engine, or if it fails. */
export function openInWorker(
  options: OpenOptions,
  onLoading: (message: LoadingMessage) => void,
): Opening {
  const worker = new Worker("engine_worker.js", { type: "module", name: "engine" });
  worker.addEventListener("message", ({ data }: MessageEvent<LoadingMessage>) => {
    if (data.type === "loading" || data.type === "notKept") onLoading(data);
  });
  const stopped = Promise.withResolvers<never>();
  const engine = Promise.race([connectEngine(worker, options), stopped.promise]);
  engine.catch(() => worker.terminate());
  return {
    engine,
    stop: () => stopped.reject(new DOMException("Loading was stopped", "AbortError")),
  };
}

/** Stops waiting when the request is cancelled; what was waited for goes on. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
