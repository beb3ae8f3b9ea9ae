/**
 * Jobs: one for each request to generate. Admission (so many run in the engine, so many wait, the
 * rest are told to come back), places in the queue, cancellation, and the drain at shutdown.
 */

import { BusyError, InvalidRequestError } from "../requests/errors.ts";
import type { Engine, GenerateResult, ProgressEvent, RequestCounts } from "../engine/types.ts";
import type { ResolvedRequest } from "../requests/types.ts";
import { CancelledError, UnavailableError } from "./errors.ts";
import { type JobEvent, JobEvents } from "./job_events.ts";

export interface JobLimits {
  /** Requests that run in the engine at once. */
  readonly maxConcurrency: number;
  /** Requests that wait for a place; beyond it a request is refused. */
  readonly maxQueue: number;
}

export interface SubmitOptions {
  /** The client's own name for the job; made up if absent. */
  readonly id?: string | undefined;
  /** Aborts when the client goes away. */
  readonly signal?: AbortSignal | undefined;
  readonly previewEvery?: number | undefined;
}

export interface Job {
  readonly id: string;
  /**
   * What happens to the job from now on, its present place in line first and its end last; each call
   * reads for itself. A position only falls, and is 0 when the job runs.
   */
  events(): AsyncIterable<JobEvent>;
  /** Rejects with `CancelledError` or whatever the engine threw; never unhandled. */
  readonly result: Promise<GenerateResult>;
}

export type JobOutcome = "completed" | "cancelled" | "failed";

/** Told once about each job that was admitted, for logs and metrics. */
export type JobObserver = (ended: {
  readonly id: string;
  readonly outcome: JobOutcome;
  readonly request: ResolvedRequest;
  readonly seconds: number;
  readonly result?: GenerateResult | undefined;
  readonly error?: unknown;
}) => void;

interface Entry {
  readonly id: string;
  readonly request: ResolvedRequest;
  readonly options: SubmitOptions;
  readonly controller: AbortController;
  readonly submitted: number;
  readonly settle: (result: GenerateResult) => void;
  readonly fail: (error: unknown) => void;
  /** Those who read along. */
  readonly readers: Set<JobEvents>;
  /** Jobs in line up to this one, wherever they wait; 0 once it runs. */
  position: number | undefined;
  ended: JobEvent | undefined;
}

/** Finished jobs that are remembered, so that a late DELETE hears "finished", not "unknown". */
const remembered = 1000;
const maxRetrySeconds = 300;

export class Jobs {
  readonly #engine: Engine;
  readonly #limits: JobLimits;
  readonly #observer: JobObserver;
  readonly #running = new Map<string, Entry>();
  /** First in, first out: a Map keeps the order in which keys were added. */
  readonly #waiting = new Map<string, Entry>();
  readonly #finished = new Set<string>();
  readonly #idle: (() => void)[] = [];
  #total = 0;
  #draining = false;
  /** Running mean of the seconds that a job held its place; undefined before the first. */
  #meanSeconds: number | undefined;

  constructor(engine: Engine, limits: JobLimits, observer: JobObserver = () => {}) {
    this.#engine = engine;
    this.#limits = limits;
    this.#observer = observer;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /**
   * Admits a request, or throws at once.
   *
   * @throws {UnavailableError} during shutdown
   * @throws {BusyError} if the queue is full; says when to come back
   * @throws {InvalidRequestError} if the client's own job name is in use
   */
  submit(request: ResolvedRequest, options: SubmitOptions = {}): Job {
    if (this.#draining) throw new UnavailableError("The server is shutting down");
    const id = options.id ?? crypto.randomUUID();
    if (this.#running.has(id) || this.#waiting.has(id)) {
      throw new InvalidRequestError("job", `job: "${id}" is the name of a job in progress`);
    }
    const free = this.#running.size < this.#limits.maxConcurrency && this.#waiting.size === 0;
    if (!free && this.#waiting.size >= this.#limits.maxQueue) {
      throw new BusyError(
        `The server is busy: ${this.#running.size} requests are running and ` +
          `${this.#waiting.size} are waiting, which is the most it admits`,
        this.#retryAfter(),
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<GenerateResult>();
    promise.catch(() => {});
    const entry: Entry = {
      id,
      request,
      options,
      controller: new AbortController(),
      submitted: performance.now(),
      settle: resolve,
      fail: reject,
      readers: new Set(),
      position: undefined,
      ended: undefined,
    };
    this.#total++;
    this.#finished.delete(id);
    this.#waiting.set(id, entry);
    // The signal lives as long as the HTTP request, which ends after the job: nothing to unhook.
    const gone = () => this.#cancel(entry, new CancelledError("The client went away"));
    options.signal?.addEventListener("abort", gone, { once: true });
    if (options.signal?.aborted) gone();
    this.#advance();
    return { id, result: promise, events: () => this.#read(entry) };
  }

  /** Stops a waiting or running job. Its promise rejects at the engine's next step at the latest. */
  cancel(id: string): "cancelled" | "finished" | "unknown" {
    const entry = this.#running.get(id) ?? this.#waiting.get(id);
    if (entry === undefined) return this.#finished.has(id) ? "finished" : "unknown";
    this.#cancel(entry, new CancelledError(`Job ${id} was cancelled`));
    return "cancelled";
  }

  counts(): RequestCounts {
    const active = [...this.#running.values()].filter(isStarted).length;
    const waiting = this.#waiting.size + this.#running.size - active;
    return { total: this.#total, active, waiting };
  }

  /** Refuses new jobs, lets the others finish for so many seconds, cancels the rest. */
  async drain(seconds: number): Promise<void> {
    this.#draining = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, seconds * 1000);
    });
    await Promise.race([this.#whenIdle(), deadline]);
    clearTimeout(timer);
    for (const entry of [...this.#waiting.values(), ...this.#running.values()]) {
      this.#cancel(entry, new UnavailableError("The server is shutting down"));
    }
    await this.#whenIdle();
  }

  #whenIdle(): Promise<void> {
    if (this.#running.size + this.#waiting.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #cancel(entry: Entry, reason: Error): void {
    if (entry.controller.signal.aborted) return;
    entry.controller.abort(reason);
    if (this.#waiting.get(entry.id) === entry) {
      this.#end(entry, { error: reason });
      this.#advance();
    }
  }

  /** Hands to the engine what may go there, and tells everybody their place. */
  #advance(): void {
    for (const entry of this.#waiting.values()) {
      if (this.#running.size >= this.#limits.maxConcurrency) break;
      this.#waiting.delete(entry.id);
      this.#running.set(entry.id, entry);
      this.#run(entry);
    }
    this.#tellPlaces();
  }

  /**
   * One line for all who do not run yet, whether they wait here or for memory in the engine: who came
   * earlier and has neither started nor ended is ahead. Nobody joins in front, so a place only falls.
   */
  #tellPlaces(): void {
    let position = 0;
    for (const entry of [...this.#running.values(), ...this.#waiting.values()]) {
      if (isStarted(entry) || entry.controller.signal.aborted) continue;
      position++;
      if (entry.position === position) continue;
      entry.position = position;
      tell(entry, { type: "queued", position });
    }
  }

  #read(entry: Entry): JobEvents {
    const events = new JobEvents();
    const { position, ended, readers } = entry;
    if (position !== undefined) events.push({ type: "queued", position });
    if (ended) events.push(ended);
    else readers.add(events);
    return events;
  }

  async #run(entry: Entry): Promise<void> {
    const started = performance.now();
    const { signal } = entry.controller;
    try {
      const result = await this.#engine.run(entry.request, {
        signal,
        onProgress: (event) => this.#report(entry, event),
        previewEvery: entry.options.previewEvery,
      });
      // Whoever was told "cancelled" must not be answered with an image.
      signal.throwIfAborted();
      const waited = (started - entry.submitted) / 1000;
      const timings = {
        ...result.timings,
        queued: result.timings.queued + waited,
        total: result.timings.total + waited,
      };
      this.#meanSeconds = mean(this.#meanSeconds, (performance.now() - started) / 1000);
      this.#end(entry, { result: { ...result, timings } });
    } catch (error) {
      this.#end(entry, { error: signal.aborted ? signal.reason : error });
    }
    this.#advance();
  }

  #report(entry: Entry, event: ProgressEvent): void {
    if (entry.controller.signal.aborted) return;
    if (event.type === "queued" && event.position > 0) return;
    if (!isStarted(entry)) {
      entry.position = 0;
      tell(entry, { type: "queued", position: 0 });
      this.#tellPlaces();
    }
    if (event.type === "progress") tell(entry, event);
  }

  #end(entry: Entry, ended: { result: GenerateResult } | { error: unknown }): void {
    this.#running.delete(entry.id);
    this.#waiting.delete(entry.id);
    this.#finished.add(entry.id);
    for (const id of this.#finished) {
      if (this.#finished.size <= remembered) break;
      this.#finished.delete(id);
    }
    const common = {
      id: entry.id,
      request: entry.request,
      seconds: (performance.now() - entry.submitted) / 1000,
    };
    if ("result" in ended) {
      this.#observer({ ...common, outcome: "completed", result: ended.result });
      entry.settle(ended.result);
      tell(entry, entry.ended = { type: "completed", result: ended.result });
    } else {
      const outcome = entry.controller.signal.aborted ? "cancelled" : "failed";
      this.#observer({ ...common, outcome, error: ended.error });
      entry.fail(ended.error);
      tell(entry, entry.ended = { type: "failed", error: ended.error });
    }
    if (this.#running.size + this.#waiting.size === 0) {
      for (const resolve of this.#idle.splice(0)) resolve();
    }
  }

  /** Seconds until a place in the queue should be free: one job's share of the running ones. */
  #retryAfter(): number {
    const seconds = (this.#meanSeconds ?? 1) / Math.max(1, this.#limits.maxConcurrency);
    return Math.min(maxRetrySeconds, Math.max(1, Math.ceil(seconds)));
  }
}

function isStarted({ position }: Entry): boolean {
  return position === 0;
}

function tell({ readers }: Entry, event: JobEvent): void {
  for (const events of readers) events.push(event);
}

function mean(previous: number | undefined, seconds: number): number {
  return previous === undefined ? seconds : previous + (seconds - previous) * 0.1;
}
