/**
 * The server's engine: lives in a worker, and is opened again when its device or its worker is
 * lost. Requests that ran fail; those that come meanwhile are told to come back; when it cannot be
 * opened again, `closed` settles with the reason and the server gives up.
 */

import { DeviceLostError } from "../gpu/errors.ts";
import type { Engine, EngineStatus, GenerateOptions, GenerateResult } from "../engine/types.ts";
import type { RequestLimits } from "../requests/model_info.ts";
import { resolveRequest } from "../requests/request.ts";
import type { GenerateRequest, ResolvedRequest } from "../requests/types.ts";
import { connectEngine } from "../engine/worker/client.ts";
import type { ServerConfig } from "./config.ts";
import type { Health } from "./context.ts";
import { UnavailableError } from "./errors.ts";
import { errorFields, type Logger } from "./log.ts";

/** What the worker needs to open the model. */
export interface EngineOptions extends
  Pick<
    ServerConfig,
    | "model"
    | "backend"
    | "weights"
    | "kernels"
    | "gpuMemory"
    | "maxBatch"
    | "tune"
    | "tuningFile"
  > {
  /** Bits of the SIMD vectors that the driver was asked for. */
  readonly vectorBits?: number | undefined;
  readonly limits: RequestLimits;
  /** As many as this server lets in: who is admitted may wait for memory, and is not refused. */
  readonly maxWaiting: number;
}

/** Seconds before each attempt to open a lost engine again; after the last it is given up. */
const defaultReopenDelays = [0.5, 2, 5, 15, 30];
/** A worker that waits for its GPU does not hear "close"; the process does not wait for it. */
const closeSeconds = 5;

/**
 * Opens the model in a worker.
 *
 * @param vectorBits of `prepareAdapter()`, for the status
 * @throws {Error} whatever the worker threw, by its own class
 */
export function startEngine(
  config: ServerConfig,
  log: Logger,
  vectorBits?: number,
): Promise<SupervisedEngine> {
  const { model, backend, weights, kernels, gpuMemory, maxBatch, tune, tuningFile } = config;
  const { maxSize, maxSteps, maxImages, maxPromptLength } = config;
  const maxWaiting = config.maxConcurrency;
  const options: EngineOptions = {
    ...{ model, backend, weights, kernels, gpuMemory, maxBatch, tune, tuningFile },
    limits: { maxSize, maxSteps, maxImages, maxPromptLength },
    vectorBits,
    maxWaiting,
  };
  return SupervisedEngine.open(() => {
    const url = new URL("./engine_worker.ts", import.meta.url);
    return connectEngine(new Worker(url, { type: "module", name: "engine" }), options);
  }, { log });
}

export interface SuperviseOptions {
  readonly log?: Logger;
  readonly reopenDelays?: readonly number[];
}

/** An engine that comes back. */
export class SupervisedEngine implements Engine {
  readonly closed: Promise<Error | undefined>;
  readonly #open: () => Promise<Engine>;
  readonly #log: Logger;
  readonly #delays: readonly number[];
  readonly #end = Promise.withResolvers<Error | undefined>();
  #current: Engine;
  #state: "ready" | "reopening" | "failed" | "closed" = "ready";
  /** Of the engine that was lost: the model is the same, its memory is gone. */
  #lastStatus: EngineStatus;
  /** Attempts since the engine last answered a request. */
  #attempts = 0;

  private constructor(open: () => Promise<Engine>, engine: Engine, options: SuperviseOptions) {
    this.#open = open;
    this.#log = options.log ?? (() => {});
    this.#delays = options.reopenDelays ?? defaultReopenDelays;
    this.#current = engine;
    this.#lastStatus = engine.status();
    this.closed = this.#end.promise;
    this.#watch(engine);
  }

  /**
   * @param open opens a fresh engine each time it is called
   * @throws {Error} what the first opening threw: a start that fails is not repeated
   */
  static async open(
    open: () => Promise<Engine>,
    options: SuperviseOptions = {},
  ): Promise<SupervisedEngine> {
    return new SupervisedEngine(open, await open(), options);
  }

  health(): Health {
    return { ready: this.#state === "ready", state: this.#state };
  }

  status(): EngineStatus {
    if (this.#state === "ready") return this.#lastStatus = this.#current.status();
    const { memory, requests } = this.#lastStatus;
    return {
      ...this.#lastStatus,
      memory: { weights: 0, arena: 0, requests: 0, cache: 0, budget: memory.budget },
      requests: { total: requests.total, active: 0, waiting: 0 },
    };
  }

  async generate(request: GenerateRequest, options?: GenerateOptions): Promise<GenerateResult> {
    return await this.run(resolveRequest(request, this.#lastStatus), options);
  }

  async run(request: ResolvedRequest, options?: GenerateOptions): Promise<GenerateResult> {
    if (this.#state !== "ready") {
      throw new UnavailableError(
        this.#state === "reopening"
          ? "The model is being reopened after a failure of the GPU"
          : "The engine has stopped",
        this.#delays[Math.min(this.#attempts, this.#delays.length - 1)],
      );
    }
    const engine = this.#current;
    try {
      const result = await engine.run(request, options);
      this.#attempts = 0;
      return result;
    } catch (error) {
      // The device may tell a request before it tells the engine.
      if (error instanceof DeviceLostError) this.#reopen(engine, error);
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.#state === "closed") return;
    const wasReady = this.#state === "ready";
    this.#state = "closed";
    if (wasReady) await closeSoon(this.#current);
    this.#end.resolve(undefined);
  }

  #watch(engine: Engine): void {
    engine.closed.then((cause) => {
      this.#reopen(engine, cause ?? new Error("The engine closed by itself"));
    });
  }

  async #reopen(lost: Engine, cause: Error): Promise<void> {
    if (lost !== this.#current || this.#state !== "ready") return;
    this.#state = "reopening";
    this.#log({ level: "error", event: "engine_lost", ...errorFields(cause) });
    await closeSoon(lost);
    let last = cause;
    while (this.#attempts < this.#delays.length) {
      const seconds = this.#delays[this.#attempts++]!;
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      if (this.#isClosed()) return;
      try {
        const engine = await this.#open();
        if (this.#isClosed()) {
          await closeSoon(engine);
          return;
        }
        this.#current = engine;
        this.#state = "ready";
        this.#log({ level: "info", event: "engine_reopened", attempt: this.#attempts });
        this.#watch(engine);
        return;
      } catch (error) {
        last = error instanceof Error ? error : new Error(String(error));
        this.#log({
          level: "error",
          event: "engine_reopen_failed",
          attempt: this.#attempts,
          ...errorFields(last),
        });
      }
    }
    if (this.#isClosed()) return;
    this.#state = "failed";
    this.#end.resolve(
      new Error(`The engine was lost and could not be reopened: ${last.message}`, { cause: last }),
    );
  }

  /** A method, as the compiler would otherwise hold the state of before an await for the present. */
  #isClosed(): boolean {
    return this.#state === "closed";
  }
}

async function closeSoon(engine: Engine): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const patience = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, closeSeconds * 1000);
  });
  try {
    await Promise.race([engine.close(), patience]);
  } catch {
    // It is lost already; why has been said, and there is nothing left to save.
  } finally {
    clearTimeout(timer);
  }
}
