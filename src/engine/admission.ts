/**
 * Who may start: a request's memory is taken from the budget before any of it is allocated. Requests
 * that find no room wait in line, first come first served, and past a bound they are refused.
 */
import { BusyError, InvalidRequestError } from "../requests/errors.ts";
import type { GenerateOptions } from "./types.ts";

export interface AdmissionOptions {
  /** Bytes that everything together may take. */
  readonly budget: number;
  /** Requests that may wait before further ones are refused. */
  readonly maxWaiting: number;
  /** Bytes that could be freed at once: embeddings kept for later requests. */
  readonly idleBytes?: (() => number) | undefined;
  /** Frees at least so many of them. */
  readonly trim?: ((bytes: number) => void) | undefined;
}

export interface Need {
  /** Bytes in use beside all requests' shares if this request runs: weights, arena, workspace. */
  readonly base: () => number;
  /** Bytes that the request holds alone. */
  readonly share: number;
  /** Called when the request is let in, before anything else is considered. */
  readonly onAdmitted?: (() => void) | undefined;
}

interface Waiting {
  readonly need: Need;
  readonly admitted: PromiseWithResolvers<void>;
  readonly onProgress: GenerateOptions["onProgress"];
}

export class Admission {
  readonly budget: number;
  readonly #options: AdmissionOptions;
  readonly #waiting: Waiting[] = [];
  #reserved = 0;
  #closed: Error | undefined;

  constructor(options: AdmissionOptions) {
    this.budget = options.budget;
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Bytes of all admitted requests' shares. */
  get reserved(): number {
    return this.#reserved;
  }

  /**
   * Takes the request's memory, waiting for it where others hold it. Returns what gives it back.
   *
   * @throws {InvalidRequestError} if the request would not fit though nobody else ran
   * @throws {BusyError} if too many wait already
   * @throws {Error} the signal's reason
   */
  async admit(
    need: Need,
    { signal, onProgress }: Pick<GenerateOptions, "signal" | "onProgress"> = {},
  ): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.#closed) throw this.#closed;
    this.#checkPossible(need);
    if (this.#waiting.length === 0 && this.#fits(need)) this.#take(need);
    else await this.#wait(need, signal, onProgress);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#reserved -= need.share;
      this.#next();
    };
  }

  /** Refuses all who wait and all who come. */
  close(reason: Error): void {
    this.#closed = reason;
    for (const { admitted } of this.#waiting.splice(0)) admitted.reject(reason);
  }

  async #wait(
    need: Need,
    signal: AbortSignal | undefined,
    onProgress: GenerateOptions["onProgress"],
  ): Promise<void> {
    if (this.#waiting.length >= this.#options.maxWaiting) {
      throw new BusyError("GPU memory is taken by other requests and the queue is full");
    }
    const waiting: Waiting = { need, admitted: Promise.withResolvers<void>(), onProgress };
    const abort = () => {
      const index = this.#waiting.indexOf(waiting);
      if (index < 0) return;
      this.#waiting.splice(index, 1);
      waiting.admitted.reject(signal!.reason);
      this.#next();
    };
    this.#waiting.push(waiting);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      this.#tellPosition(waiting, this.#waiting.length);
      await waiting.admitted.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  #checkPossible({ base, share }: Need): void {
    const without = base();
    if (without + share <= this.budget) return;
    throw new InvalidRequestError(
      "height",
      `The request needs ${share} bytes of GPU memory beside the ${without} that the model takes ` +
        `for images of its size, and the budget is ${this.budget}: ask for a smaller size`,
    );
  }

  #fits({ base, share }: Need): boolean {
    const idle = this.#options.idleBytes?.() ?? 0;
    const excess = base() + this.#reserved + share + idle - this.budget;
    if (excess > idle) return false;
    if (excess > 0) this.#options.trim?.(excess);
    return true;
  }

  #take({ share, onAdmitted }: Need): void {
    this.#reserved += share;
    onAdmitted?.();
  }

  #next(): void {
    const before = this.#waiting.length;
    for (let first; (first = this.#waiting[0]);) {
      try {
        // The arena may have grown too large for it while it waited: then it never will fit.
        this.#checkPossible(first.need);
      } catch (error) {
        this.#waiting.shift();
        first.admitted.reject(error);
        continue;
      }
      if (!this.#fits(first.need)) break;
      this.#waiting.shift();
      this.#take(first.need);
      first.admitted.resolve();
    }
    if (this.#waiting.length === before) return;
    for (const [i, waiting] of [...this.#waiting].entries()) this.#tellPosition(waiting, i + 1);
  }

  /** A listener that throws ends its own request and nobody else's. */
  #tellPosition(waiting: Waiting, position: number): void {
    try {
      waiting.onProgress?.({ type: "queued", position });
    } catch (error) {
      const index = this.#waiting.indexOf(waiting);
      if (index >= 0) this.#waiting.splice(index, 1);
      waiting.admitted.reject(error);
    }
  }
}
