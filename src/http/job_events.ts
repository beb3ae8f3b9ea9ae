/** What a job tells, on its way to a reader who may be slower than the job. */

import type { GenerateResult, ProgressEvent } from "../engine/types.ts";

/** The last event of every job is `completed` or `failed`. */
export type JobEvent =
  | ProgressEvent
  | { readonly type: "completed"; readonly result: GenerateResult }
  | { readonly type: "failed"; readonly error: unknown };

export type JobEventOf<T extends JobEvent["type"]> = Extract<JobEvent, { readonly type: T }>;

/** Progress that waits for a reader; beyond it the oldest is dropped. */
const mostProgress = 32;
/** Of these, how many keep their previews. */
const mostPreviews = 4;

/**
 * A queue for one reader that cannot grow without bound: a place in line replaces the one before, of
 * unread progress the newest is kept, and the job's end is never dropped.
 */
export class JobEvents implements AsyncIterable<JobEvent> {
  #unread: JobEvent[] = [];
  #arrived = Promise.withResolvers<void>();

  push(event: JobEvent): void {
    if (event.type === "queued") {
      this.#unread = this.#unread.filter(({ type }) => type !== "queued");
    }
    if (event.type === "progress") this.#makeRoom();
    this.#unread.push(event);
    this.#arrived.resolve();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<JobEvent> {
    for (;;) {
      const event = this.#unread.shift();
      if (event) {
        yield event;
        if (event.type === "completed" || event.type === "failed") return;
      } else {
        this.#arrived = Promise.withResolvers();
        await this.#arrived.promise;
      }
    }
  }

  #makeRoom(): void {
    const progress = this.#unread.filter((event) => event.type === "progress");
    if (progress.length >= mostProgress) this.#unread.splice(this.#unread.indexOf(progress[0]!), 1);
    const pictured = progress.filter(({ previews }) => previews);
    if (pictured.length < mostPreviews) return;
    const at = this.#unread.indexOf(pictured[0]!);
    const { previews: _, ...rest } = pictured[0]!;
    if (at >= 0) this.#unread[at] = rest;
  }
}
