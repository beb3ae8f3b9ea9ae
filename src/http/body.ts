/** Reading a request's body: JSON only, of a bounded size, within a bounded time. */

import type { MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { CancelledError, HttpError } from "./errors.ts";

export interface BodyOptions {
  readonly maxBytes: number;
  readonly timeoutSeconds: number;
}

/**
 * Reads the body before the handler runs; `c.req.json()` then answers from memory.
 *
 * @throws {HttpError} 400 (not JSON), 408 (too slow), 413 (too large), 415 (another type)
 */
export function jsonBody({ maxBytes, timeoutSeconds }: BodyOptions): MiddlewareHandler {
  const limit = bodyLimit({
    maxSize: maxBytes,
    onError: () => {
      throw new HttpError(
        413,
        "payload_too_large_error",
        `The body is too large: at most ${maxBytes} bytes are allowed`,
        // What is left of the body is not read, so the connection cannot be used again.
        { Connection: "close" },
      );
    },
  });
  return async (c, next) => {
    const type = c.req.header("Content-Type") ?? "";
    if (!/^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type)) {
      throw new HttpError(
        415,
        "unsupported_media_type_error",
        `Content-Type must be application/json, not ${type === "" ? "absent" : `"${type}"`}`,
      );
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    const expired = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(
          new HttpError(
            408,
            "timeout_error",
            `The body did not arrive within ${timeoutSeconds} seconds`,
            { Connection: "close" },
          ),
        );
      }, timeoutSeconds * 1000);
    });
    let text = "";
    try {
      const read = limit(c, async () => {
        text = await c.req.text();
      });
      await Promise.race([read, expired]);
    } catch (error) {
      if (error instanceof HttpError) throw error;
      throw new CancelledError("The client went away while it sent its body");
    } finally {
      clearTimeout(timer);
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new HttpError(
        400,
        "invalid_request_error",
        `The body must be JSON: ${(error as Error).message}`,
      );
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new HttpError(400, "invalid_request_error", "The body must be a JSON object");
    }
    await next();
  };
}
