/** Server-sent events over a response whose client may be slow, or gone. */

import type { Context } from "hono";
import { streamSSE } from "hono/streaming";

/** Proxies close connections that say nothing for a minute. */
const keepAliveMs = 15_000;

/** Sends `data` as JSON; resolves when the client has taken it, or has gone. Never throws. */
export type SendEvent = (event: string, data: unknown) => Promise<void>;

/**
 * Answers with an event stream that lives as long as `body` runs.
 *
 * @param onGone called if the client goes away before the end
 */
export function eventStream(
  c: Context,
  onGone: () => void,
  body: (send: SendEvent) => Promise<void>,
): Response {
  // Asks buffering proxies (nginx) to pass events on at once.
  c.header("X-Accel-Buffering", "no");
  return streamSSE(c, async (stream) => {
    stream.onAbort(onGone);
    let writing = 0;
    const write = async (what: () => Promise<unknown>) => {
      writing++;
      await what();
      writing--;
    };
    const keepAlive = setInterval(() => {
      if (writing === 0) write(() => stream.write(": keep-alive\n\n"));
    }, keepAliveMs);
    try {
      await body((event, data) =>
        write(() => stream.writeSSE({ event, data: JSON.stringify(data) }))
      );
    } finally {
      clearInterval(keepAlive);
    }
  });
}
