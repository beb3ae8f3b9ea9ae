/** Server-sent events over a response whose client may be slow, or gone. */

import type { Context } from "hono";
import { streamSSE } from "hono/streaming";

/** Events that wait for a slow client; beyond it the ones that may be dropped are dropped. */
const MAX_BACKLOG = 32;
/** Proxies close connections that say nothing for a minute. */
const KEEP_ALIVE_MS = 15_000;

export interface EventSink {
  /**
   * Sends `data` as JSON. In order; never throws and never waits, as its callers are the loop's
   * callbacks.
   *
   * @param droppable true for progress, which the next event makes obsolete
   */
  send(event: string, data: unknown, droppable?: boolean): void;
}

/**
 * Answers with an event stream that lives as long as `body` runs.
 *
 * @param onGone called if the client goes away before the end
 */
export function eventStream(
  c: Context,
  onGone: () => void,
  body: (sink: EventSink) => Promise<void>,
): Response {
  // Asks buffering proxies (nginx) to pass events on at once.
  c.header("X-Accel-Buffering", "no");
  return streamSSE(c, async (stream) => {
    stream.onAbort(onGone);
    let backlog = 0;
    let tail: Promise<unknown> = Promise.resolve();
    const enqueue = (write: () => Promise<unknown>) => {
      backlog++;
      tail = tail.then(write).finally(() => backlog--);
    };
    const keepAlive = setInterval(() => {
      if (backlog === 0) enqueue(() => stream.write(": keep-alive\n\n"));
    }, KEEP_ALIVE_MS);
    try {
      await body({
        send(event, data, droppable = false) {
          if (droppable && backlog >= MAX_BACKLOG) return;
          const text = JSON.stringify(data);
          enqueue(() => stream.writeSSE({ event, data: text }));
        },
      });
      await tail;
    } finally {
      clearInterval(keepAlive);
    }
  });
}
