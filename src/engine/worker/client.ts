/**
 * An `Engine` that lives in a worker, as seen from outside. Knows no runtime: the server hands in
 * a Deno worker, the page a Web Worker, a test one end of a MessageChannel.
 */

import type {
  Engine,
  EngineStatus,
  GenerateOptions,
  GenerateResult,
  ProgressEvent,
} from "../types.ts";
import type { GenerateRequest, ResolvedRequest } from "../../requests/types.ts";
import { WorkerDiedError } from "../errors.ts";
import { fromWireError } from "./wire_error.ts";
import type { MessageEndpoint, Question, WorkerReply, WorkerRequest } from "./protocol.ts";

/** A Worker, or anything that passes messages; the parts that a MessagePort lacks are optional. */
export interface EngineWorker extends MessageEndpoint {
  terminate?(): void;
}

interface Pending {
  readonly settle: (result: GenerateResult) => void;
  readonly fail: (error: unknown) => void;
  readonly onProgress: GenerateOptions["onProgress"];
  readonly signal: AbortSignal | undefined;
}

/**
 * Opens the engine behind `worker` and resolves when the model is loaded.
 *
 * @param options passed to the worker's opener as they are
 * @throws {Error} what the opener threw, by its own class
 * @throws {WorkerDiedError} if the worker broke first
 */
export async function connectEngine(worker: EngineWorker, options: unknown): Promise<Engine> {
  const engine = new WorkerEngine(worker);
  await engine.open(options);
  return engine;
}

class WorkerEngine implements Engine {
  readonly closed: Promise<Error | undefined>;
  readonly #worker: EngineWorker;
  readonly #pending = new Map<number, Pending>();
  readonly #opened = Promise.withResolvers<void>();
  readonly #end = Promise.withResolvers<Error | undefined>();
  #status: EngineStatus | undefined;
  #nextId = 1;
  #ended: { readonly error: Error | undefined } | undefined;

  constructor(worker: EngineWorker) {
    this.#worker = worker;
    this.closed = this.#end.promise;
    this.#opened.promise.catch(() => {});
    worker.addEventListener("message", (event) => this.#receive(event.data as WorkerReply));
    const target = worker as unknown as EventTarget;
    target.addEventListener("error", (event) => {
      // Otherwise the error would go on to end the thread that owns the worker.
      event.preventDefault();
      const reason = (event as ErrorEvent).message || "it gave no reason";
      this.#finish(new WorkerDiedError(`The engine's worker broke: ${reason}`));
    });
    target.addEventListener("messageerror", () => {
      this.#finish(new WorkerDiedError("The engine's worker sent a message that cannot be read"));
    });
  }

  async open(options: unknown): Promise<void> {
    this.#post({ type: "open", options });
    await this.#opened.promise;
  }

  status(): EngineStatus {
    if (this.#status === undefined) throw new TypeError("The engine has no status before it opens");
    return this.#status;
  }

  generate(request: GenerateRequest, options?: GenerateOptions): Promise<GenerateResult> {
    return this.#ask({ type: "generate", request }, options);
  }

  run(request: ResolvedRequest, options?: GenerateOptions): Promise<GenerateResult> {
    return this.#ask({ type: "run", request }, options);
  }

  #ask(question: Question, options: GenerateOptions = {}): Promise<GenerateResult> {
    const { signal, onProgress, previewEvery = 0 } = options;
    if (this.#ended !== undefined) return Promise.reject(this.#endedError());
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<GenerateResult>();
    const abort = () => this.#post({ type: "abort", id });
    const forget = () => {
      this.#pending.delete(id);
      signal?.removeEventListener("abort", abort);
    };
    this.#pending.set(id, {
      settle: (result) => {
        forget();
        resolve(result);
      },
      fail: (error) => {
        forget();
        reject(error);
      },
      onProgress,
      signal,
    });
    signal?.addEventListener("abort", abort, { once: true });
    this.#post({ ...question, id, previewEvery });
    return promise;
  }

  async close(): Promise<void> {
    if (this.#ended === undefined) this.#post({ type: "close" });
    await this.closed;
  }

  #post(message: WorkerRequest): void {
    this.#worker.postMessage(message, []);
  }

  #receive(message: WorkerReply): void {
    if (this.#ended !== undefined) return;
    switch (message.type) {
      case "opened":
        this.#status = message.status;
        this.#opened.resolve();
        break;
      case "openFailed":
        this.#finish(fromWireError(message.error));
        break;
      case "status":
        this.#status = message.status;
        break;
      case "progress":
        this.#report(message.id, message.event);
        break;
      case "done":
        this.#pending.get(message.id)?.settle(message.result);
        break;
      case "failed": {
        const pending = this.#pending.get(message.id);
        // The reason stays on this side: it need not survive a clone to be the one promised.
        const aborted = pending?.signal?.aborted && message.error.name === "AbortError";
        pending?.fail(aborted ? pending.signal?.reason : fromWireError(message.error));
        break;
      }
      case "closed":
        this.#finish(message.error === undefined ? undefined : fromWireError(message.error));
        break;
    }
  }

  /** A listener that throws ends its own request, as in an engine of this thread. */
  #report(id: number, event: ProgressEvent): void {
    const pending = this.#pending.get(id);
    try {
      pending?.onProgress?.(event);
    } catch (error) {
      this.#post({ type: "abort", id });
      pending?.fail(error);
    }
  }

  /** The one way out, taken once: everybody who waits is told, and the worker is let go. */
  #finish(error: Error | undefined): void {
    if (this.#ended !== undefined) return;
    this.#ended = { error };
    const cause = this.#endedError();
    for (const pending of [...this.#pending.values()]) pending.fail(cause);
    this.#opened.reject(cause);
    this.#worker.terminate?.();
    this.#end.resolve(error);
  }

  #endedError(): Error {
    return this.#ended?.error ?? new WorkerDiedError("The engine is closed");
  }
}
